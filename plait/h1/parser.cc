#include "plait/h1/parser.h"

#include <algorithm>

#include "plait/h1/field_line.h"
#include "plait/h1/scan.h"

namespace plait::h1 {
namespace {

using http::FieldName;

std::unexpected<ParseError> reject(uint16_t status, ErrorCode code, const char* reason) {
  return std::unexpected(ParseError{status, connectionError(code, reason)});
}
std::unexpected<ParseError> malformed(const char* reason) {
  return reject(400, ErrorCode::malformed_message, reason);
}

// The facts that the fields of a head state about its framing.
struct Facts {
  enum class Coding : uint8_t { none, chunked, unsupported, malformed };
  Coding coding = Coding::none;
  uint64_t length = http::unknown_length;
  bool has_host = false;
  std::string_view host;
  bool expects_continue = false;
  bool expects_other = false;
};

void readTransferEncoding(std::string_view value, Facts& facts) {
  using Coding = Facts::Coding;
  // A second line, or anything before or behind "chunked", is where implementations disagree about the body's end.
  if (facts.coding != Coding::none) {
    facts.coding = Coding::malformed;
    return;
  }
  if (http::equalsIgnoreCase(value, "chunked")) {
    facts.coding = Coding::chunked;
    return;
  }
  facts.coding = Coding::malformed;
  std::string_view coding;
  std::string_view last;
  size_t count = 0;
  size_t chunked_count = 0;
  while (http::nextListElement(value, coding)) {
    last = coding;
    count += 1;
    if (http::equalsIgnoreCase(coding, "chunked")) chunked_count += 1;
  }
  // "chunked" alone would be understood, were it not for the commas around it.
  if (count > 1 && chunked_count == 1 && http::equalsIgnoreCase(last, "chunked")) facts.coding = Coding::unsupported;
}

// Fields from `section`, which ends with the empty line, into the list. Host is kept as text, not as a field.
ParseResult<void> parseFields(Bytes section, bool is_request, http::Version version, const Limits& limits,
                              http::FieldList& fields, Facts& facts, http::ConnectionTokens& tokens) {
  size_t position = 0;
  size_t count = 0;
  while (section[position] != '\r') {
    const FieldLine line = parseFieldLine(section, position, fields.freeBytes());
    if (!line.well_formed) return malformed("a field line without a proper name (RFC 9112 section 5.1)");
    if (++count > limits.field_count) return reject(431, ErrorCode::message_too_large, "too many fields");
    if (!line.fits) return reject(431, ErrorCode::no_memory, "the fields exceed their memory");
    const FieldName id = http::fieldNameOf(line.name);
    size_t value_size = line.value.size();
    switch (id) {
      case FieldName::host:
        if (!is_request) break;
        if (facts.has_host) return malformed("more than one Host (RFC 9112 section 3.2)");
        facts.has_host = true;
        // Kept without an entry: the text lies in the list's free bytes already and moves over its own name.
        facts.host = fields.keep(line.value);
        continue;
      case FieldName::content_length: {
        const std::optional<uint64_t> length = http::parseContentLength(line.value);
        if (!length) return malformed("an invalid Content-Length (RFC 9110 section 8.6)");
        if (facts.length != http::unknown_length) {
          if (facts.length != *length) return malformed("differing Content-Length fields (RFC 9112 section 6.3)");
          continue;
        }
        facts.length = *length;
        value_size = http::trimWhitespace(line.value.substr(0, line.value.find(','))).size();
        break;
      }
      case FieldName::transfer_encoding:
        readTransferEncoding(line.value, facts);
        break;
      case FieldName::connection:
        if (!http::parseConnectionValue(line.value, tokens)) return malformed("an invalid Connection field");
        break;
      case FieldName::expect:
        // HTTP/1.0 has no expectations (RFC 9110 §10.1.1); forwarded in a later version this one would come alive.
        if (is_request && version == http::Version::http_1_0) continue;
        facts.expects_other |= !http::equalsIgnoreCase(line.value, "100-continue");
        facts.expects_continue = true;
        break;
      default:
        break;
    }
    fields.commit(line.name.size(), value_size, id, false);
  }
  if (fields.listSize() > limits.fields_size)
    return reject(431, ErrorCode::message_too_large, "the field section is too large");
  return {};
}

struct Section {
  bool complete = false;
  Bytes start_line;  // without its CRLF
  Bytes fields;      // with the empty line
  size_t consumed = 0;
};

// Cuts a head at its lines, or says that it is not all there. `too_long_status` is for the start line.
ParseResult<Section> cutHead(Bytes input, size_t begin, size_t& scanned, const Limits& limits) {
  const HeadScan found = scanLines(input, begin, scanned);
  if (found == HeadScan::malformed) return malformed("a control character or a line that does not end in CRLF");
  const size_t known = found == HeadScan::complete ? scanned + 2 : input.size();
  const size_t uncritical_size = std::min(limits.start_line_size, limits.fields_size);
  if (found == HeadScan::need_more && known - begin <= uncritical_size) return Section();

  // The scan left nothing that ends a line but CRLF.
  const size_t line_end = findControl(input, begin);
  if (line_end - begin > limits.start_line_size) {
    return reject(414, ErrorCode::message_too_large, "the start line is too long");
  }
  if (known - line_end > limits.fields_size + 4) {
    return reject(431, ErrorCode::message_too_large, "the field section is too large");
  }
  if (found == HeadScan::need_more) return Section();
  Section section;
  section.complete = true;
  section.start_line = input.subspan(begin, line_end - begin);
  section.fields = input.subspan(line_end + 2, known - line_end - 2);
  section.consumed = known;
  if (section.start_line.empty()) return malformed("an empty start line");
  return section;
}

// "HTTP/1.1" or "HTTP/1.0"; 505 for another version, 400 for anything else.
ParseResult<http::Version> parseVersion(std::string_view text) {
  if (text == "HTTP/1.1") return http::Version::http_1_1;
  if (text == "HTTP/1.0") return http::Version::http_1_0;
  const bool is_version = text.size() == 8 && text.starts_with("HTTP/") && text[6] == '.' &&
                          http::isOfClass(text[5], http::class_digit) && http::isOfClass(text[7], http::class_digit);
  if (!is_version) return malformed("no HTTP version where one must stand (RFC 9112 section 2.3)");
  return reject(505, ErrorCode::malformed_message, "a version other than HTTP/1.0 and HTTP/1.1");
}

struct Target {
  std::string_view scheme;
  std::string_view authority;
  bool has_authority = false;
  std::string_view path;     // what follows an authority may be empty or start with '?'
  bool needs_slash = false;  // RFC 9112 §3.2.2: an absolute-form target without a path means "/"
};

ParseResult<Target> parseTarget(std::string_view method, std::string_view text) {
  Target target;
  if (method == "CONNECT") {
    const std::optional<http::Authority> authority = http::parseAuthority(text);
    if (!authority || authority->port == 0) return malformed("CONNECT needs host:port (RFC 9112 section 3.2.3)");
    target.authority = text;
    target.has_authority = true;
    return target;
  }
  if (text == "*") {
    if (method != "OPTIONS") return malformed("the target \"*\" is for OPTIONS only (RFC 9112 section 3.2.4)");
    target.path = text;
    return target;
  }
  for (const char c : text) {
    if (!http::isOfClass(c, http::class_target)) return malformed("a byte that no target contains");
  }
  if (text.starts_with('/')) {
    target.path = text;
    return target;
  }
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return malformed("a target that is no path and no absolute URI");
  const std::string_view scheme = text.substr(0, colon);
  if (http::equalsIgnoreCase(scheme, "http")) {
    target.scheme = "http";
  } else if (http::equalsIgnoreCase(scheme, "https")) {
    target.scheme = "https";
  } else {
    return malformed("a target with another scheme than http and https");
  }
  const std::string_view rest = text.substr(colon + 3);
  const size_t authority_size = std::min(rest.find_first_of("/?"), rest.size());
  target.authority = rest.substr(0, authority_size);
  target.has_authority = true;
  target.path = rest.substr(authority_size);
  if (!http::isAuthority(target.authority)) return malformed("an invalid authority (RFC 9110 section 4.2)");
  // RFC 9112 §3.2.4: OPTIONS without path and query is about the server as a whole.
  if (target.path.empty() && method == "OPTIONS") {
    target.path = "*";
  } else {
    target.needs_slash = !target.path.starts_with('/');
  }
  return target;
}

// See ParseError. One space too many is a slip of someone who does mean HTTP/1.x.
bool isForeign(std::string_view method, std::string_view target, std::string_view version) {
  if (method.empty() || target.empty() || version.empty() || target.find(' ') != std::string_view::npos) return false;
  return !http::equalsIgnoreCase(version.substr(0, 4), "HTTP") && !parseTarget(method, target);
}

bool isPersistent(http::Version version, const http::ConnectionTokens& tokens) {
  if (tokens.close) return false;
  return version == http::Version::http_1_1 || tokens.keep_alive;
}

// RFC 9112 §6.1 and §6.3 as far as both roles share them.
ParseResult<void> checkFraming(http::Version version, const Facts& facts) {
  using Coding = Facts::Coding;
  if (facts.coding == Coding::none) return {};
  if (version == http::Version::http_1_0) return malformed("Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)");
  if (facts.length != http::unknown_length) {
    return malformed("Transfer-Encoding together with Content-Length (RFC 9112 section 6.1)");
  }
  if (facts.coding == Coding::malformed) return malformed("chunked is not the one last transfer coding");
  if (facts.coding == Coding::unsupported) {
    return reject(501, ErrorCode::malformed_message, "a transfer coding other than chunked");
  }
  return {};
}

// Whether `start`, which has no end of a line yet, can become a status line: HTTP/1.x SP, three digits, and SP or CRLF.
// A peer that speaks something else, an SSH or SMTP server, says so with its first bytes, and then waits for us.
bool canBecomeStatusLine(std::string_view start) {
  constexpr std::string_view protocol = "HTTP/1.";
  const std::string_view begun = start.substr(0, protocol.size());
  if (!protocol.starts_with(begun)) return false;
  const auto isDigit = [](char c) { return http::isOfClass(c, http::class_digit); };
  for (size_t i = protocol.size(); i < std::min<size_t>(start.size(), 13); ++i) {
    const char c = start[i];
    const bool fits = i == 7    ? c == '0' || c == '1'
                      : i == 8  ? c == ' '
                      : i == 9  ? c >= '1' && c <= '5'
                      : i == 12 ? c == ' ' || c == '\r'
                                : isDigit(c);
    if (!fits) return false;
  }
  return true;
}

constexpr const char* no_memory_reason = "the head exceeds its memory";

}  // namespace

std::string_view tunnelProtocol(const http::FieldList& fields) {
  for (const http::Field field : fields) {
    if (field.id != FieldName::upgrade) continue;
    std::string_view list = field.value;
    std::string_view element;
    while (http::nextListElement(list, element)) {
      const bool is_refused = element.size() >= 3 && (http::equalsIgnoreCase(element.substr(0, 3), "h2c") ||
                                                      http::equalsIgnoreCase(element.substr(0, 3), "tls"));
      if (http::isToken(element) && !is_refused && !http::equalsIgnoreCase(element, "http")) return element;
    }
  }
  return {};
}

ParseResult<HeadParse> parseRequestHead(Bytes input, size_t& scanned, http::RequestHead& out, const Limits& limits) {
  // RFC 9112 §2.2: one empty line before a request is tolerated, since old clients send one behind a body.
  const size_t begin = input.size() >= 2 && input[0] == '\r' && input[1] == '\n' ? 2 : 0;
  const ParseResult<Section> section = cutHead(input, begin, scanned, limits);
  if (!section) return std::unexpected(section.error());
  if (!section->complete) return HeadParse();

  http::FieldList& fields = out.fields;
  fields.clear();
  out.scheme = out.authority = out.protocol = {};
  out.content_length = http::unknown_length;

  const std::string_view line = asText(section->start_line);
  const size_t method_size = line.find(' ');
  const size_t target_end = line.rfind(' ');
  if (method_size == std::string_view::npos || method_size == target_end) {
    return malformed("a request line needs a method, a target and a version");
  }
  const std::string_view method = line.substr(0, method_size);
  const std::string_view target_text = line.substr(method_size + 1, target_end - method_size - 1);
  const std::string_view version_text = line.substr(target_end + 1);
  const ParseResult<http::Version> version = parseVersion(version_text);
  if (!version) {
    ParseError error = version.error();
    error.is_foreign = isForeign(method, target_text, version_text);
    return std::unexpected(error);
  }
  if (!http::isToken(method)) return malformed("the method is no token");
  if (target_text.size() > limits.target_size)
    return reject(414, ErrorCode::message_too_large, "the target is too long");
  const ParseResult<Target> target = parseTarget(method, target_text);
  if (!target) return std::unexpected(target.error());

  out.version = *version;
  out.scheme = target->scheme;  // static text
  out.method = fields.keep(method);
  // Two texts kept one behind the other are contiguous.
  const std::string_view slash = fields.keep(target->needs_slash ? "/" : "");
  const std::string_view path = fields.keep(target->path);
  const std::string_view authority = fields.keep(target->authority);
  if (authority.data() == nullptr || path.data() == nullptr || slash.data() == nullptr ||
      out.method.data() == nullptr) {
    return reject(431, ErrorCode::no_memory, no_memory_reason);
  }
  out.path = {slash.data(), slash.size() + path.size()};
  out.authority = authority;

  HeadParse head;
  Facts facts;
  const ParseResult<void> parsed = parseFields(section->fields, true, *version, limits, fields, facts, head.connection);
  if (!parsed) return std::unexpected(parsed.error());

  if (*version == http::Version::http_1_1 && !facts.has_host) return malformed("no Host (RFC 9112 section 3.2)");
  if (facts.has_host && !http::isAuthority(facts.host)) return malformed("an invalid Host (RFC 9112 section 3.2)");
  if (!target->has_authority) out.authority = facts.host;

  const ParseResult<void> framed = checkFraming(*version, facts);
  if (!framed) return std::unexpected(framed.error());
  out.content_length = facts.length;
  if (facts.coding == Facts::Coding::chunked) {
    head.framing = BodyFraming::chunked;
  } else if (facts.length != http::unknown_length && facts.length != 0) {
    head.framing = BodyFraming::content_length;
  }
  out.end_stream = head.framing == BodyFraming::none;

  // HTTP/1.0 knows neither expectations nor upgrades (RFC 9110 §10.1.1, §7.8).
  if (*version == http::Version::http_1_1) {
    if (facts.expects_other) {
      return reject(417, ErrorCode::malformed_message, "an expectation other than 100-continue");
    }
    head.expect_continue = facts.expects_continue && !out.end_stream;
    // With a body on its way, the bytes behind the head would not be the tunnel's.
    if (head.connection.upgrade && out.end_stream && method == "GET") out.protocol = tunnelProtocol(out.fields);
  }
  // Bytes that follow a CONNECT may have been written for the tunnel: where there is none they are no request.
  head.keep_alive = isPersistent(*version, head.connection) && out.method != "CONNECT";
  // A client that names the whole URI takes us for its proxy, and a proxy of HTTP/1.0 may pass on a keep-alive that it
  // does not understand (RFC 9112 §9.3, §C.2.2).
  if (*version == http::Version::http_1_0 && target->has_authority) head.keep_alive = false;
  head.consumed = section->consumed;
  head.complete = true;
  scanned = 0;
  return head;
}

ParseResult<HeadParse> parseResponseHead(Bytes input, size_t& scanned, http::ResponseHead& out,
                                         std::string_view request_method, const Limits& limits) {
  const auto asGatewayError = [](const ParseError& error) { return std::unexpected(ParseError{502, error.error}); };
  const ParseResult<Section> section = cutHead(input, 0, scanned, limits);
  if (!section) return asGatewayError(section.error());
  if (!section->complete) {
    if (canBecomeStatusLine(asText(input))) return HeadParse();
    return reject(502, ErrorCode::malformed_message, "no status line where one must stand (RFC 9112 section 4)");
  }

  out.fields.clear();
  out.content_length = http::unknown_length;

  // HTTP-version SP status-code SP [reason]. The second space is often missing where there is no reason, and nothing
  // depends on it.
  const std::string_view line = asText(section->start_line);
  const ParseResult<http::Version> version = parseVersion(line.substr(0, 8));
  if (!version) return asGatewayError(version.error());
  const bool has_status = line.size() >= 12 && line[8] == ' ' && (line.size() == 12 || line[12] == ' ') &&
                          http::isOfClass(line[9], http::class_digit) && http::isOfClass(line[10], http::class_digit) &&
                          http::isOfClass(line[11], http::class_digit) && line[9] >= '1' && line[9] <= '5';
  if (!has_status) return reject(502, ErrorCode::malformed_message, "a malformed status line (RFC 9112 section 4)");
  const auto status = static_cast<uint16_t>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));

  HeadParse head;
  Facts facts;
  const ParseResult<void> parsed =
      parseFields(section->fields, false, *version, limits, out.fields, facts, head.connection);
  if (!parsed) return asGatewayError(parsed.error());
  const ParseResult<void> framed = checkFraming(*version, facts);
  if (!framed) return asGatewayError(framed.error());

  out.version = *version;
  out.status = status;
  head.keep_alive = isPersistent(*version, head.connection);
  const bool is_interim = status < 200;
  head.tunnel = status == 101 || (request_method == "CONNECT" && status >= 200 && status < 300);
  if (is_interim || status == 204 || head.tunnel) {
    // None of these has a body whatever its fields say (RFC 9112 §6.3). A server that claims a coding all the same
    // may believe otherwise, so its connection is not used again.
    if (facts.coding != Facts::Coding::none) head.keep_alive = false;
    if (!is_interim && facts.length != http::unknown_length && facts.length != 0) head.keep_alive = false;
  } else if (request_method == "HEAD" || status == 304) {
    out.content_length = facts.length;
  } else if (facts.coding == Facts::Coding::chunked) {
    head.framing = BodyFraming::chunked;
  } else if (facts.length != http::unknown_length) {
    out.content_length = facts.length;
    if (facts.length != 0) head.framing = BodyFraming::content_length;
  } else {
    head.framing = BodyFraming::until_close;
    head.keep_alive = false;
  }
  out.end_stream = head.framing == BodyFraming::none && !head.tunnel && !is_interim;
  head.consumed = section->consumed;
  head.complete = true;
  scanned = 0;
  return head;
}

}  // namespace plait::h1
