#include "plait/h1/writer.h"

#include <algorithm>
#include <charconv>

#include "plait/base/assert.h"
#include "plait/h1/scan.h"

namespace plait::h1 {
namespace {

using http::Field;
using http::FieldName;

constexpr std::string_view crlf = "\r\n";

// Whatever a head holds besides method, target, authority and the given fields: the version, status or reason, Host's
// name, Connection, Upgrade's name, the framing and the empty line.
constexpr size_t fixed_bound = 256;

Error unwritable(const char* reason) {
  return streamError(ErrorCode::invalid_argument, reason);
}

// Appends after the room was checked; mostly all of it in one piece.
class Appender {
 public:
  // At most `bound` bytes will follow, and at least one.
  Appender(ByteQueue& out, size_t bound) : out_(out), piece_(out.tail(bound)) {}
  Appender(const Appender&) = delete;
  Appender& operator=(const Appender&) = delete;
  ~Appender() {
    if (!piece_.empty()) out_.commit(used_);
  }
  void put(std::string_view text) {
    if (!piece_.empty()) [[likely]] {
      PLAIT_ASSERT(text.size() <= piece_.size() - used_);
      copyShort(piece_.data() + used_, text.data(), text.size());
      used_ += text.size();
      return;
    }
    const bool appended = out_.append(asBytes(text));
    PLAIT_ASSERT(appended);
  }
  template <class... Texts>
  void putAll(const Texts&... texts) {
    (put(texts), ...);
  }
  void putNumber(uint64_t number, int base = 10) {
    char digits[20];
    const auto end = std::to_chars(digits, digits + sizeof(digits), number, base).ptr;
    put({digits, static_cast<size_t>(end - digits)});
  }

 private:
  ByteQueue& out_;
  MutableBytes piece_;
  size_t used_ = 0;
};

bool hasControl(std::string_view text) {
  return findControl(asBytes(text), 0) != text.size();
}

// Whether the field is written as it is. Framing and connection options are the writer's own, and HTTP/1.1's TE has to
// be nominated, which writeTail does.
bool isPassed(const Field& field, const http::ConnectionTokens& tokens) {
  switch (field.id) {
    case FieldName::content_length:
    case FieldName::host:
    case FieldName::te:
      return false;
    default:
      return !http::isHopByHop(field, tokens);
  }
}

// Adds up what the fields take at most, refusing those that would end their line early.
Result<size_t> boundOf(const http::FieldList& fields) {
  size_t bound = 0;
  for (const Field& field : fields) {
    if (field.id == FieldName::unknown && !http::isToken(field.name))
      return fail(unwritable("a field name is no token"));
    if (hasControl(field.value)) return fail(unwritable("a control character in a field value"));
    bound += field.name.size() + field.value.size() + 4;
  }
  return bound;
}

void putFields(Appender& to, const http::FieldList& fields, const http::ConnectionTokens& tokens, bool join_cookies) {
  bool cookies_written = false;
  for (size_t i = 0; i < fields.count(); ++i) {
    const Field field = fields[i];
    if (!isPassed(field, tokens)) continue;
    if (field.id != FieldName::cookie || !join_cookies) {
      to.putAll(field.name, ": ", field.value, crlf);
      continue;
    }
    if (cookies_written) continue;
    cookies_written = true;
    // A joined crumb takes two bytes for its separator, fewer than the line that the bound allowed for it.
    to.putAll(field.name, ": ", field.value);
    for (size_t next = fields.find(FieldName::cookie, i + 1); next != fields.count();
         next = fields.find(FieldName::cookie, next + 1)) {
      to.putAll("; ", fields[next].value);
    }
    to.put(crlf);
  }
}

void putFraming(Appender& to, BodyFraming framing, uint64_t content_length) {
  if (framing == BodyFraming::chunked) to.put("transfer-encoding: chunked\r\n");
  if (framing == BodyFraming::content_length) {
    to.put("content-length: ");
    to.putNumber(content_length);
    to.put(crlf);
  }
}

const http::ConnectionTokens no_tokens;

// Methods whose definition expects content say so even when there is none (RFC 9110 §8.6).
bool expectsContent(std::string_view method) {
  return method == "POST" || method == "PUT" || method == "PATCH";
}

}  // namespace

Result<BodyFraming> writeRequestHead(ByteQueue& out, const http::RequestHead& head, const RequestOptions& options) {
  const http::ConnectionTokens& tokens = options.connection == nullptr ? no_tokens : *options.connection;
  const bool is_upgrade = !head.protocol.empty();
  const std::string_view method = is_upgrade ? "GET" : head.method;
  const bool is_connect = method == "CONNECT";
  if (!http::isToken(method)) return fail(unwritable("the method is no token"));
  if (is_upgrade && !http::isToken(head.protocol)) return fail(unwritable("the protocol is no token"));
  if (!is_connect && !http::isPath(head.path, method)) return fail(unwritable("the path is not in origin-form"));
  if (!head.authority.empty() && !http::isAuthority(head.authority)) return fail(unwritable("an invalid authority"));
  const bool absolute = options.absolute_form && !is_connect;
  if (absolute && !http::isToken(head.scheme)) return fail(unwritable("absolute-form needs a scheme"));
  if ((absolute || is_connect) && head.authority.empty()) return fail(unwritable("this target needs an authority"));

  if (head.end_stream && head.content_length != http::unknown_length && head.content_length != 0) {
    return fail(unwritable("a content length without its body"));
  }

  const Result<size_t> fields_bound = boundOf(head.fields);
  if (!fields_bound) return fail(fields_bound.error());
  const size_t bound = *fields_bound + fixed_bound + method.size() + head.scheme.size() + head.path.size() +
                       2 * head.authority.size() + head.protocol.size();
  if (bound > out.room()) return fail(streamError(ErrorCode::no_memory, "no room for the request head"));

  BodyFraming framing = BodyFraming::none;
  if (!is_upgrade && !is_connect && !head.end_stream) {
    const bool is_known = head.content_length != http::unknown_length;
    framing = is_known ? BodyFraming::content_length : BodyFraming::chunked;
  }

  Appender to(out, bound);
  to.putAll(method, " ");
  if (is_connect) {
    to.put(head.authority);
  } else {
    if (absolute) to.putAll(head.scheme, "://", head.authority);
    // RFC 9112 §3.2.4: an absolute-form target says "*" by having no path.
    if (!absolute || head.path != "*") to.put(head.path);
  }
  to.putAll(" HTTP/1.1\r\nhost: ", head.authority, crlf);
  putFields(to, head.fields, tokens, true);
  const bool is_empty_content = !is_upgrade && head.end_stream && (expectsContent(method) || head.content_length == 0);
  putFraming(to, is_empty_content ? BodyFraming::content_length : framing, head.end_stream ? 0 : head.content_length);

  const bool wants_trailers = http::equalsIgnoreCase(head.fields.value(FieldName::te), "trailers");
  if (wants_trailers) to.put("te: trailers\r\n");
  if (is_upgrade) to.putAll("upgrade: ", head.protocol, crlf);
  if (options.close || wants_trailers || is_upgrade) {
    std::string_view separator = "connection: ";
    const auto putOption = [&](bool wanted, std::string_view option) {
      if (!wanted) return;
      to.putAll(separator, option);
      separator = ", ";
    };
    putOption(options.close, "close");
    putOption(is_upgrade, "upgrade");
    putOption(wants_trailers, "te");
    to.put(crlf);
  }
  to.put(crlf);
  return framing;
}

Result<BodyFraming> writeResponseHead(ByteQueue& out, const http::ResponseHead& head, const ResponseOptions& options) {
  const http::ConnectionTokens& tokens = options.connection == nullptr ? no_tokens : *options.connection;
  const bool is_switch = head.status == 101;
  if (head.status < 100 || head.status > 999) return fail(unwritable("a status of other than three digits"));
  if (head.status < 200 && !is_switch) return fail(unwritable("an interim status in a final head"));
  if (is_switch && !http::isToken(options.protocol)) return fail(unwritable("101 needs a protocol"));

  const Result<size_t> fields_bound = boundOf(head.fields);
  if (!fields_bound) return fail(fields_bound.error());
  const size_t bound = *fields_bound + fixed_bound + options.protocol.size() + options.date.size();
  if (bound > out.room()) return fail(streamError(ErrorCode::no_memory, "no room for the response head"));

  const bool is_old = options.request_version == http::Version::http_1_0;
  const bool is_tunnel = is_switch || (options.request_method == "CONNECT" && head.status < 300);
  const bool is_known = head.content_length != http::unknown_length;
  BodyFraming announced = BodyFraming::none;
  bool has_body = false;
  if (is_tunnel || head.status == 204) {
    // Neither may announce anything (RFC 9110 §8.6, RFC 9112 §6.1).
  } else if (options.request_method == "HEAD" || head.status == 304) {
    // The length that a GET would have announced, if that is known.
    announced = is_known ? BodyFraming::content_length : BodyFraming::none;
  } else if (head.end_stream || is_known) {
    announced = BodyFraming::content_length;
    has_body = !head.end_stream;
    if (head.end_stream && is_known && head.content_length != 0) {
      return fail(unwritable("a content length without its body"));
    }
  } else {
    announced = is_old ? BodyFraming::until_close : BodyFraming::chunked;
    has_body = true;
  }
  const bool close = options.close || announced == BodyFraming::until_close;

  Appender to(out, bound);
  to.put("HTTP/1.1 ");
  to.putNumber(head.status);
  to.putAll(" ", reasonPhrase(head.status), crlf);
  putFields(to, head.fields, tokens, false);
  if (!options.date.empty() && head.fields.find(FieldName::date) == head.fields.count())
    to.putAll("date: ", options.date, crlf);
  const bool is_empty_content = head.end_stream && !is_known;
  putFraming(to, announced, is_empty_content ? 0 : head.content_length);
  // 426 names the protocol that is wanted (RFC 9110 §7.8). It was a field of one hop, so this hop says it anew.
  const std::string_view protocol = is_switch            ? options.protocol
                                    : head.status == 426 ? head.fields.value(FieldName::upgrade)
                                                         : std::string_view();
  if (!protocol.empty()) to.putAll("upgrade: ", protocol, crlf);
  const std::string_view persistence = is_switch ? "" : close ? "close" : is_old ? "keep-alive" : "";
  if (!protocol.empty() || !persistence.empty()) {
    const bool says_both = !protocol.empty() && !persistence.empty();
    to.putAll("connection: ", protocol.empty() ? "" : "upgrade", says_both ? ", " : "", persistence, crlf);
  }
  to.put(crlf);
  return has_body ? announced : BodyFraming::none;
}

Status writeInterimHead(ByteQueue& out, uint16_t status, const http::FieldList& fields) {
  if (status < 100 || status > 199 || status == 101) return fail(unwritable("not an interim status"));
  const Result<size_t> fields_bound = boundOf(fields);
  if (!fields_bound) return fail(fields_bound.error());
  const size_t bound = *fields_bound + fixed_bound;
  if (bound > out.room()) return fail(streamError(ErrorCode::no_memory, "no room for an interim head"));
  Appender to(out, bound);
  to.put("HTTP/1.1 ");
  to.putNumber(status);
  to.putAll(" ", reasonPhrase(status), crlf);
  putFields(to, fields, no_tokens, false);
  to.put(crlf);
  return {};
}

void BodyWriter::start(BodyFraming framing, uint64_t content_length) {
  framing_ = framing;
  remaining_ = framing == BodyFraming::content_length ? content_length : 0;
  done_ = framing == BodyFraming::none;
}

Result<size_t> BodyWriter::write(ByteQueue& out, Bytes data, size_t limit) {
  if (data.empty()) return size_t{0};
  if (done_) return fail(unwritable("body bytes behind the end of the body"));
  if (framing_ == BodyFraming::content_length && data.size() > remaining_) {
    return fail(unwritable("more body than the content length says (RFC 9110 section 8.6)"));
  }
  if (framing_ != BodyFraming::chunked) {
    const size_t count = out.appendSome(data, limit);
    if (framing_ == BodyFraming::content_length) remaining_ -= count;
    return count;
  }
  // The last chunk must find its place behind the data.
  const size_t room = out.bulkRoom();
  if (room <= 2 * max_chunk_overhead) return size_t{0};
  const size_t count = std::min({data.size(), limit, room - 2 * max_chunk_overhead});
  // An empty chunk would be the last one.
  if (count == 0) return size_t{0};
  Appender to(out, count + max_chunk_overhead);
  to.putNumber(count, 16);
  to.putAll(crlf, asText(data.first(count)), crlf);
  return count;
}

Status BodyWriter::finish(ByteQueue& out, const http::FieldList* trailers) {
  if (done_) return {};
  if (framing_ == BodyFraming::content_length && remaining_ != 0) {
    return fail(connectionError(ErrorCode::body_aborted, "less body than the content length says"));
  }
  if (framing_ == BodyFraming::chunked) {
    size_t bound = max_chunk_overhead;
    if (trailers != nullptr) {
      const Result<size_t> fields_bound = boundOf(*trailers);
      if (!fields_bound) return fail(fields_bound.error());
      bound += *fields_bound;
    }
    if (bound > out.room()) return fail(streamError(ErrorCode::no_memory, "no room for the last chunk"));
    Appender to(out, bound);
    to.put("0\r\n");
    if (trailers != nullptr) {
      for (const Field& field : *trailers) {
        if (!http::isForbiddenInTrailers(field.id)) to.putAll(field.name, ": ", field.value, crlf);
      }
    }
    to.put(crlf);
  }
  done_ = true;
  return {};
}

}  // namespace plait::h1
