// A record as a line of text.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <iterator>

#include "plait/base/log.h"
#include "plait/control/access_log.h"
#include "plait/http/grpc.h"

namespace plait {
namespace {

const char* protocolOf(http::Version version) {
  switch (version) {
    case http::Version::http_1_0:
      return "HTTP/1.0";
    case http::Version::http_1_1:
      return "HTTP/1.1";
    case http::Version::http_2:
      return "HTTP/2.0";
  }
  return "";
}

const char* classOf(RetryClass retry_class) {
  switch (retry_class) {
    case RetryClass::none:
      return "-";
    case RetryClass::unprocessed:
      return "unprocessed";
    case RetryClass::unknown:
      return "unknown";
  }
  return "";
}

std::string_view backendOf(const AccessRecord& record, std::span<const std::string> backends) {
  return record.endpoint.number < backends.size() ? std::string_view(backends[record.endpoint.number])
                                                  : std::string_view();
}

// Everything but printable ASCII as \xHH, and so the two characters that would end a quoted text.
void putEscaped(std::string_view text, std::string& out) {
  if (text.empty()) out += '-';
  for (const char c : text) {
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
}

void putJson(std::string_view name, std::string_view text, std::string& out) {
  fmt::format_to(std::back_inserter(out), ",\"{}\":\"", name);
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<uint8_t>(c));
    }
  }
  out += '"';
}

}  // namespace

void formatCombined(const AccessRecord& record, int64_t wall_offset_ns, std::span<const std::string> backends,
                    std::string& out) {
  const std::time_t time_s = (record.started_ns + wall_offset_ns) / ns_per_s;
  const auto put = std::back_inserter(out);
  putEscaped(record.client, out);
  fmt::format_to(put, " - - [{:%d/%b/%Y:%H:%M:%S} +0000] \"", fmt::gmtime(time_s));
  putEscaped(record.method, out);
  out += ' ';
  putEscaped(record.path, out);
  fmt::format_to(put, " {}\" {:03} {} \"", protocolOf(record.version), record.status, record.bytes);
  putEscaped(record.referer, out);
  out += "\" \"";
  putEscaped(record.user_agent, out);
  fmt::format_to(put, "\" {:.6f} \"", static_cast<double>(record.ended_ns - record.started_ns) / ns_per_s);
  putEscaped(backendOf(record, backends), out);
  fmt::format_to(put, "\" {} {} {} \"", record.retries, classOf(record.retry_class),
                 record.grpc_status ? http::grpcStatusName(*record.grpc_status) : "-");
  if (record.cause.code == ErrorCode::none) {
    out += '-';
  } else {
    fmt::format_to(put, "{}: ", errorCodeName(record.cause.code));
    putEscaped(record.cause.reason, out);
    if (record.cause_after_ns != 0) fmt::format_to(put, ", after {} ms", record.cause_after_ns / ns_per_ms);
  }
  out += "\" \"";
  putEscaped(record.real_client, out);
  out += "\" ";
  putEscaped(record.request_id, out);
  out += '\n';
}

void formatJson(const AccessRecord& record, int64_t wall_offset_ns, std::span<const std::string> backends,
                std::string& out) {
  const auto put = std::back_inserter(out);
  fmt::format_to(put, "{{\"time\":\"{}\",\"ended\":\"{}\"", timestamp(record.started_ns + wall_offset_ns),
                 timestamp(record.ended_ns + wall_offset_ns));
  putJson("client", record.client, out);
  if (!record.real_client.empty()) putJson("real_client", record.real_client, out);
  if (!record.request_id.empty()) putJson("request_id", record.request_id, out);
  putJson("method", record.method, out);
  putJson("authority", record.authority, out);
  putJson("path", record.path, out);
  putJson("protocol", protocolOf(record.version), out);
  fmt::format_to(put, ",\"status\":{},\"bytes\":{},\"duration_ms\":{:.3f},\"complete\":{}", record.status, record.bytes,
                 static_cast<double>(record.ended_ns - record.started_ns) / ns_per_ms, record.is_complete);
  if (!record.route.empty()) putJson("route", record.route, out);
  putJson("upstream", backendOf(record, backends), out);
  fmt::format_to(put, ",\"retries\":{}", record.retries);
  if (record.retry_class != RetryClass::none) putJson("retry_class", classOf(record.retry_class), out);
  if (record.cause.code != ErrorCode::none) {
    putJson("cause", errorCodeName(record.cause.code), out);
    putJson("reason", record.cause.reason, out);
    if (record.cause_after_ns != 0) {
      fmt::format_to(put, ",\"cause_after_ms\":{:.3f}", static_cast<double>(record.cause_after_ns) / ns_per_ms);
    }
  }
  if (record.grpc_status) putJson("grpc_status", http::grpcStatusName(*record.grpc_status), out);
  putJson("referer", record.referer, out);
  putJson("user_agent", record.user_agent, out);
  out += "}\n";
}

}  // namespace plait
