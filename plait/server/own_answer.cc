#include "plait/server/own_answer.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "plait/h1/writer.h"
#include "plait/http/accept.h"
#include "plait/http/grpc.h"

namespace plait {
namespace {

using http::FieldName;

// For a client that comes again at once there would be no more room than there is now.
constexpr std::string_view retry_after_s = "1";

// A number in decimal.
class Digits {
 public:
  explicit Digits(size_t number) : end_(std::to_chars(text_, text_ + sizeof(text_), number).ptr) {}
  std::string_view text() const { return {text_, static_cast<size_t>(end_ - text_)}; }

 private:
  char text_[24];
  char* end_;
};

// The value of a Proxy-Status field.
class ProxyStatus {
 public:
  explicit ProxyStatus(const OwnAnswer& answer) {
    put("plait; error=");
    put(answer.error);
    putString("next-hop", answer.next_hop);
    putString("details", answer.details);
  }
  std::string_view text() const { return {text_, size_}; }

 private:
  void put(std::string_view text) {
    const size_t size = std::min(text.size(), sizeof(text_) - size_);
    std::memcpy(text_ + size_, text.data(), size);
    size_ += size;
  }
  // A parameter that is a String (RFC 8941 §3.3.3): printable ASCII, so that anything else is left out.
  void putString(std::string_view name, std::string_view value) {
    constexpr size_t longest = 400;
    if (value.empty()) return;
    value = value.substr(0, longest);
    put("; ");
    put(name);
    put("=\"");
    for (const char& c : value) {
      if (c < 0x20 || c >= 0x7f) continue;
      if (c == '"' || c == '\\') put("\\");
      put({&c, 1});
    }
    put("\"");
  }

  char text_[2 * 2 * 400 + 128];
  size_t size_ = 0;
};

}  // namespace

WrittenAnswer::WrittenAnswer(const OwnAnswer& answer, const http::RequestHead& request, std::string_view request_id) {
  head_.fields = http::FieldList(fields_);
  const ProxyStatus proxy_status(answer);
  const std::string_view content_type = request.fields.value(FieldName::content_type);
  if (http::isGrpc(content_type)) {
    uint8_t message[400];
    head_.status = 200;
    head_.fields.add("content-type", http::grpcContentType(content_type).substr(0, 100), FieldName::content_type);
    head_.fields.add("grpc-status", Digits(http::grpcStatusOf(answer.status)).text(), FieldName::grpc_status);
    head_.fields.add("grpc-message", http::grpcMessage(answer.text, message), FieldName::grpc_message);
  } else {
    head_.status = answer.status;
    if (answer.text.empty()) {
      head_.fields.add("content-length", "0", FieldName::content_length);
    } else {
      const bool is_html = http::prefersHtml(request.fields);
      if (is_html) {
        writeHtml(answer, request_id);
      } else {
        put(answer.text.substr(0, most_body - 1));
        if (!answer.text.ends_with('\n')) put("\n");
      }
      head_.fields.add("content-type", is_html ? "text/html; charset=utf-8" : "text/plain; charset=utf-8",
                       FieldName::content_type);
      head_.fields.add("content-length", Digits(body_size_).text(), FieldName::content_length);
    }
    head_.content_length = body_size_;
    if (answer.status == 503) head_.fields.add("retry-after", retry_after_s, FieldName::retry_after);
    // It has no content then, only the length that the answer to a GET would have (RFC 9110 §9.3.2).
    if (request.method == "HEAD") body_size_ = 0;
  }
  head_.end_stream = body_size_ == 0;
  head_.fields.add("proxy-status", proxy_status.text());
  if (!request_id.empty()) head_.fields.add("x-request-id", request_id, FieldName::x_request_id);
}

void WrittenAnswer::put(std::string_view text) {
  const size_t size = std::min(text.size(), most_body - body_size_);
  std::memcpy(body_ + body_size_, text.data(), size);
  body_size_ += size;
}

void WrittenAnswer::putHtml(std::string_view text) {
  for (const char& c : text) {
    switch (c) {
      case '<':
        put("&lt;");
        break;
      case '>':
        put("&gt;");
        break;
      case '&':
        put("&amp;");
        break;
      default:
        put({&c, 1});
    }
  }
}

void WrittenAnswer::writeHtml(const OwnAnswer& answer, std::string_view request_id) {
  const Digits status(answer.status);
  const std::string_view reason = h1::reasonPhrase(answer.status);
  std::string_view text = answer.text.substr(0, 400);
  if (text.ends_with('\n')) text.remove_suffix(1);
  put("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>");
  put(status.text());
  put(" ");
  put(reason);
  put("</title>\n<h1>");
  put(status.text());
  put(" ");
  put(reason);
  put("</h1>\n<p>");
  putHtml(text);
  put("</p>\n");
  if (request_id.empty()) return;
  put("<p>Request <code>");
  putHtml(request_id);
  put("</code></p>\n");
}

}  // namespace plait
