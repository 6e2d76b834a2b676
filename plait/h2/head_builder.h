// A message head, or trailers, out of decoded fields, and what is wrong with it (RFC 9113 §8.1 to §8.3, §8.5). It knows
// nothing of frames and streams. A malformed message is only looked at up to its first fault.
#pragma once

#include "plait/h2/hpack_decoder.h"
#include "plait/http/message.h"

namespace plait::h2 {

class HeadBuilder {
 public:
  enum class Kind : uint8_t { request, response, trailers };

  // `memory` takes the fields, `request` and `response` the head's views of it; all must outlive the builder.
  // `admits_protocol`: a request may be an extended CONNECT (RFC 8441 §4).
  HeadBuilder(Kind kind, MutableBytes memory, bool admits_protocol, http::RequestHead& request,
              http::ResponseHead& response)
      : kind_(kind), admits_protocol_(admits_protocol), fields_(memory), request_(request), response_(response) {}
  // Bounds on RFC 9113 §6.5.2's measure, on the number of fields, and on that of a cookie's crumbs, which are one field
  // to their sender. Pseudo-header fields count as none: one that comes twice makes the message malformed. `target`
  // bounds the length of :path. Where any is exceeded the fields are only counted.
  void limit(size_t list_size, uint32_t fields, uint32_t crumbs, uint32_t target) {
    max_list_size_ = list_size;
    max_fields_ = fields;
    max_crumbs_ = crumbs;
    max_target_size_ = target;
  }

  // Of a message that is not wanted, the fields are only counted.
  void drop() { is_too_large_ = true; }

  void add(const DecodedField& field) {
    list_size_ += field.name.size() + field.value.size() + 32;
    all_count_ += 1;
    // Most fields are regular ones by the number of their name alone.
    if (needs_care.contains(field.id) || !field.is_sound) [[unlikely]]
      return addWithCare(field);
    addRegular(field);
  }
  // RFC 9113 §6.5.2's measure of all fields so far, kept or not, and how many they are.
  size_t listSize() const { return list_size_; }
  uint32_t allCount() const { return all_count_; }
  // Checks what only the whole can tell. `ends_stream`: the header block carries END_STREAM.
  void finish(bool ends_stream);

  // The first fault found, null when there is none. Static text with the section that is broken.
  const char* fault() const { return fault_; }
  void reject(const char* fault) {
    if (fault_ == nullptr) fault_ = fault;
  }
  // The fields did not fit into the memory, or into the limits.
  bool isTooLarge() const { return is_too_large_; }
  // The status of a request that is too large (RFC 9110 §15.5.15, RFC 6585 §5).
  uint16_t tooLargeStatus() const { return is_target_too_long_ ? 414 : 431; }

  Kind kind() const { return kind_; }
  const http::FieldList& fields() const { return fields_; }
  uint64_t contentLength() const { return content_length_; }
  bool isConnect() const { return request_.method == "CONNECT"; }

 private:
  // Names that mean something to HTTP/2 itself, or are counted apart. An unknown one that begins with ':' is not sound,
  // which is care enough.
  static constexpr http::FieldNameSet needs_care = {http::FieldName::pseudo_method,
                                                    http::FieldName::pseudo_scheme,
                                                    http::FieldName::pseudo_path,
                                                    http::FieldName::pseudo_authority,
                                                    http::FieldName::pseudo_status,
                                                    http::FieldName::pseudo_protocol,
                                                    http::FieldName::content_length,
                                                    http::FieldName::host,
                                                    http::FieldName::connection,
                                                    http::FieldName::keep_alive,
                                                    http::FieldName::proxy_connection,
                                                    http::FieldName::transfer_encoding,
                                                    http::FieldName::upgrade,
                                                    http::FieldName::te,
                                                    http::FieldName::cookie};

  static bool isPseudo(const DecodedField& field) { return !field.name.empty() && field.name[0] == ':'; }
  void addRegular(const DecodedField& field) {
    field_count_ += 1;
    if (!isWanted()) return;
    regular_seen_ = true;
    if (!fields_.add(field.name, field.value, field.id, field.never_indexed)) is_too_large_ = true;
  }
  // Nothing is wrong with the message so far, and nothing too large.
  bool isWanted() {
    if (list_size_ > max_list_size_ || field_count_ > max_fields_ || crumb_count_ > max_crumbs_) [[unlikely]]
      is_too_large_ = true;
    return fault_ == nullptr && !is_too_large_;
  }
  void addWithCare(const DecodedField& field);
  void addPseudo(const DecodedField& field);
  void addHost(const DecodedField& field);
  void finishRequest(bool ends_stream);

  Kind kind_;
  bool admits_protocol_;
  bool regular_seen_ = false;
  bool is_too_large_ = false;
  bool is_target_too_long_ = false;
  uint32_t pseudo_seen_ = 0;
  uint32_t unsound_ = 0;  // of those, and of Host in place of :authority, which are malformed
  uint32_t all_count_ = 0;
  uint32_t field_count_ = 0;
  uint32_t max_fields_ = UINT32_MAX;
  uint32_t crumb_count_ = 0;
  uint32_t max_crumbs_ = UINT32_MAX;
  uint32_t max_target_size_ = UINT32_MAX;
  size_t list_size_ = 0;
  size_t max_list_size_ = SIZE_MAX;
  const char* fault_ = nullptr;
  uint64_t content_length_ = http::unknown_length;
  http::FieldList fields_;
  http::RequestHead& request_;
  http::ResponseHead& response_;
};

}  // namespace plait::h2
