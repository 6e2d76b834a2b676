// An answer that no backend gave: a status, a sentence for people, and the fields that tell machines why.
#pragma once

#include "plait/http/message.h"

namespace plait {

struct OwnAnswer {
  uint16_t status = 502;
  std::string_view text;                            // one sentence; a last line break is left out
  std::string_view error = "proxy_internal_error";  // RFC 9209 §2.3's type
  // The backend and its error, for clients that may know them: empty for all others.
  std::string_view next_hop;
  std::string_view details;
};

// The answer as it is sent, in memory of its own.
class WrittenAnswer {
 public:
  static constexpr size_t most_body = 1024;

  // `request` is as much of it as is known: what its client reads decides between text, HTML and gRPC's form. The
  // sentence may be cut.
  WrittenAnswer(const OwnAnswer& answer, const http::RequestHead& request, std::string_view request_id);
  WrittenAnswer(const WrittenAnswer&) = delete;
  WrittenAnswer& operator=(const WrittenAnswer&) = delete;

  const http::ResponseHead& head() const { return head_; }
  std::string_view body() const { return {body_, body_size_}; }

 private:
  void writeHtml(const OwnAnswer& answer, std::string_view request_id);
  void put(std::string_view text);
  void putHtml(std::string_view text);

  http::ResponseHead head_;
  size_t body_size_ = 0;
  alignas(8) uint8_t fields_[3072];
  char body_[most_body];
};

}  // namespace plait
