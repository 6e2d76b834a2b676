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

  void add(const DecodedField& field);
  // Checks what only the whole can tell. `ends_stream`: the header block carries END_STREAM.
  void finish(bool ends_stream);

  // The first fault found, null when there is none. Static text with the section that is broken.
  const char* fault() const { return fault_; }
  void reject(const char* fault) {
    if (fault_ == nullptr) fault_ = fault;
  }
  // The fields did not fit into the memory.
  bool isTooLarge() const { return is_too_large_; }

  Kind kind() const { return kind_; }
  const http::FieldList& fields() const { return fields_; }
  uint64_t contentLength() const { return content_length_; }
  bool isConnect() const { return request_.method == "CONNECT"; }

 private:
  void addPseudo(const DecodedField& field);
  void addStatus(std::string_view value);
  void addHost(const DecodedField& field);
  void finishRequest(bool ends_stream);

  Kind kind_;
  bool admits_protocol_;
  bool regular_seen_ = false;
  bool is_too_large_ = false;
  uint32_t pseudo_seen_ = 0;
  const char* fault_ = nullptr;
  uint64_t content_length_ = http::unknown_length;
  http::FieldList fields_;
  http::RequestHead& request_;
  http::ResponseHead& response_;
};

}  // namespace plait::h2
