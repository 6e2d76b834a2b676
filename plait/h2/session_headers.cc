// Header blocks: assembled, decoded, and made into heads (RFC 9113 §4.3, §8.1 to §8.3).
#include <algorithm>

#include "plait/h2/session.h"
#include "plait/http/field_rules.h"

namespace plait::h2 {

using http::FieldName;

Status Session::onHeaders(Bytes payload, Event& event) {
  uint32_t padding = 0;
  if (frame_.has(flags::padded)) {
    if (payload.empty()) return fail(H2Error::frame_size_error, "padded HEADERS without a padding length (RFC 9113 §6.2)");
    padding = payload[0];
    payload = payload.subspan(1);
  }
  if (frame_.has(flags::priority)) {
    if (payload.size() < 5) return fail(H2Error::frame_size_error, "HEADERS is too short for its priority (RFC 9113 §6.2)");
    if ((loadBe32(payload.data()) & max_stream_id) == frame_.stream_id) {
      return fail(H2Error::protocol_error, "a stream depends on itself (RFC 7540 §5.3.1)");
    }
    payload = payload.subspan(5);
  }
  if (padding > payload.size()) return fail(H2Error::protocol_error, "padding is longer than its HEADERS frame (RFC 9113 §6.2)");
  payload = payload.first(payload.size() - padding);
  block_stream_id_ = frame_.stream_id;
  block_ends_stream_ = frame_.has(flags::end_stream);
  if (frame_.has(flags::end_headers)) return onHeaderBlock(payload, event);
  continuations_ = 0;
  awaiting_continuation_ = true;
  if (!takeCarry()) return fail(H2Error::enhance_your_calm, "no memory is left for a header block");
  std::memmove(carry_, payload.data(), payload.size());
  block_size_ = static_cast<uint32_t>(payload.size());
  return {};
}

Status Session::onContinuation(Bytes payload, Event& event) {
  if (++continuations_ > config_.max_continuations) {
    return fail(H2Error::enhance_your_calm, "a header block of too many CONTINUATION frames");
  }
  if (block_size_ + payload.size() > carry_blocks_.blockSize()) return fail(H2Error::enhance_your_calm, "a header block is too large");
  std::memmove(carry_ + block_size_, payload.data(), payload.size());
  block_size_ += static_cast<uint32_t>(payload.size());
  if (!frame_.has(flags::end_headers)) return {};
  awaiting_continuation_ = false;
  const Bytes block(carry_, block_size_);
  return onHeaderBlock(block, event);
}

Status Session::onHeaderBlock(Bytes block, Event& event) {
  const uint32_t id = block_stream_id_;
  Stream* stream = find(id);
  bool is_new = false;
  bool is_ignored = false;
  if (role_ == Role::server) {
    if (id % 2 == 0) return fail(H2Error::protocol_error, "a client's stream has an even id (RFC 9113 §5.1.1)");
    if (id > last_peer_stream_id_) {
      is_new = true;
      last_peer_stream_id_ = id;
    }
  } else if (isIdle(id)) {
    return fail(H2Error::protocol_error, "HEADERS on an idle stream (RFC 9113 §5.1)");
  }
  if (!is_new) {
    if (stream == nullptr) {
      if (!wasResetRecently(id)) return fail(H2Error::stream_closed, "HEADERS on a closed stream (RFC 9113 §5.1)");
      is_ignored = true;
    } else if (stream->is_reset) {
      is_ignored = true;
    } else if (stream->remote_ended) {
      return fail(H2Error::stream_closed, "HEADERS after END_STREAM (RFC 9113 §5.1)");
    }
  }

  event.request = {};
  event.response = {};
  http::FieldList fields({scratch_.fields, SessionScratch::header_memory});
  const bool is_trailers = stream != nullptr && stream->head_received;
  const bool is_request = is_new;
  bool malformed = false;
  bool too_large = false;
  const char* reason = "";
  const auto reject = [&](const char* why) {
    if (!malformed) reason = why;
    malformed = true;
  };
  size_t list_size = 0;
  uint32_t field_count = 0;
  bool regular_seen = false;
  bool has_status = false;
  uint32_t pseudo_seen = 0;
  uint64_t content_length = http::unknown_length;

  decoder_.begin(block);
  DecodedField field{};
  while (true) {
    auto more = decoder_.next(field, scratch_.hpack);
    if (!more) return fail(static_cast<H2Error>(more.error().detail), more.error().reason);
    if (!*more) break;
    list_size += field.name.size() + field.value.size() + 32;
    field_count += 1;
    if (list_size > config_.max_header_list_size || field_count > config_.max_fields + 5) too_large = true;
    // Every field is decoded, for the tables' sake; what is refused anyway is not looked at.
    if (too_large || is_ignored || malformed) continue;
    if (!field.name.empty() && field.name[0] == ':') {
      if (regular_seen) reject("a pseudo-header field behind a regular one (RFC 9113 §8.3)");
      if (is_trailers) reject("a pseudo-header field in trailers (RFC 9113 §8.1)");
      const uint32_t bit = 1u << (static_cast<uint32_t>(field.id) & 31);
      const bool is_request_field = field.id == FieldName::pseudo_method || field.id == FieldName::pseudo_scheme ||
                                    field.id == FieldName::pseudo_path || field.id == FieldName::pseudo_authority;
      const bool known = is_request ? is_request_field : field.id == FieldName::pseudo_status;
      if (!known) reject("an unknown pseudo-header field (RFC 9113 §8.3)");
      if ((pseudo_seen & bit) != 0) reject("a pseudo-header field comes twice (RFC 9113 §8.3)");
      pseudo_seen |= bit;
      if (malformed) continue;
      if (field.id == FieldName::pseudo_status) {
        has_status = true;
        const std::string_view s = field.value;
        if (s.size() != 3 || s[0] < '1' || s[0] > '5' || s[1] < '0' || s[1] > '9' || s[2] < '0' || s[2] > '9') {
          reject("a malformed :status (RFC 9113 §8.3.2)");
          continue;
        }
        event.response.status = static_cast<uint16_t>((s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0'));
        continue;
      }
      const std::string_view kept = fields.keep(field.value);
      if (kept.size() != field.value.size()) {
        too_large = true;
        continue;
      }
      if (field.id == FieldName::pseudo_method) {
        event.request.method = kept;
        if (!http::isToken(kept)) reject("a malformed :method (RFC 9113 §8.3.1)");
      } else if (field.id == FieldName::pseudo_scheme) {
        event.request.scheme = kept;
      } else if (field.id == FieldName::pseudo_path) {
        event.request.path = kept;
      } else {
        event.request.authority = kept;
        if (!kept.empty() && !http::isAuthority(kept)) reject("a malformed :authority (RFC 9113 §8.3.1)");
      }
      continue;
    }
    regular_seen = true;
    if (!http::isLowerCaseToken(field.name)) reject("a malformed field name (RFC 9113 §8.2.1)");
    if (!http::isFieldValue(field.value)) reject("a malformed field value (RFC 9113 §8.2.1)");
    if (http::isForbiddenInHttp2(field.id, field.value)) reject("a connection-specific field (RFC 9113 §8.2.2)");
    if (malformed) continue;
    if (field.id == FieldName::content_length && !is_trailers) {
      const auto length = http::parseContentLength(field.value);
      if (!length || (content_length != http::unknown_length && content_length != *length)) {
        reject("a malformed Content-Length (RFC 9110 §8.6)");
        continue;
      }
      if (content_length == *length) continue;
      content_length = *length;
    }
    if (field.id == FieldName::host && is_request) {
      // :authority and Host must agree; only the former is kept (RFC 9113 §8.3.1).
      if (event.request.authority.empty()) {
        event.request.authority = fields.keep(field.value);
        if (!http::isAuthority(field.value)) reject("a malformed Host (RFC 9110 §7.2)");
      } else if (!http::equalsIgnoreCase(event.request.authority, field.value)) {
        reject("Host differs from :authority (RFC 9113 §8.3.1)");
      }
      continue;
    }
    if (!fields.add(field.name, field.value, field.id, field.never_indexed)) too_large = true;
  }
  if (is_ignored) return {};
  event.fields = fields;

  if (is_request && !malformed && !too_large) {
    const auto& request = event.request;
    if (request.method.empty()) {
      reject("a request without :method (RFC 9113 §8.3.1)");
    } else if (request.method == "CONNECT") {
      if (!request.scheme.empty() || !request.path.empty() || request.authority.empty()) reject("a malformed CONNECT (RFC 9113 §8.5)");
    } else if (request.scheme.empty() || !http::isPath(request.path, request.method)) {
      reject("a missing or malformed :scheme or :path (RFC 9113 §8.3.1)");
    }
    if (block_ends_stream_ && content_length != http::unknown_length && content_length != 0) {
      reject("a Content-Length without content (RFC 9113 §8.1.1)");
    }
  }
  if (is_trailers && !block_ends_stream_) reject("trailers without END_STREAM (RFC 9113 §8.1)");
  if (!is_request && !is_trailers && !has_status) reject("a response without :status (RFC 9113 §8.3.2)");
  const bool is_interim = !is_request && !is_trailers && event.response.status < 200;
  if (is_interim && block_ends_stream_) reject("an interim response that ends the stream (RFC 9113 §8.1)");
  if (is_interim && event.response.status == 101) reject("101 does not exist in HTTP/2 (RFC 9113 §8.6)");
  if (is_trailers && !malformed && stream->content_left != http::unknown_length && stream->content_left != 0) {
    reject("DATA does not add up to Content-Length (RFC 9113 §8.1.1)");
  }
  if (!is_request && !is_trailers && !is_interim && !malformed) {
    const bool no_content = stream->expects_no_body || event.response.status == 204 || event.response.status == 304;
    if (no_content) {
      stream->expects_no_body = true;
    } else {
      stream->content_left = content_length;
      if (block_ends_stream_ && content_length != http::unknown_length && content_length != 0) {
        reject("a Content-Length without content (RFC 9113 §8.1.1)");
      }
    }
  }

  if (is_request) {
    if (id > refuse_above_ || stream_count_ >= config_.max_concurrent_streams) {
      sendResetById(id, H2Error::refused_stream);
      return {};
    }
    if (malformed) {
      streamFailed(nullptr, id, H2Error::protocol_error, reason, event);
      return reset_tokens_ == 0 ? spendReset() : Status();
    }
    if (too_large) {
      streamFailed(nullptr, id, H2Error::enhance_your_calm, "the request's fields are too large", event);
      return {};
    }
    pending_request_id_ = id;
    pending_request_ended_ = block_ends_stream_;
    pending_content_length_ = content_length;
    event.kind = Event::Kind::request;
    event.stream = nullptr;
    event.stream_id = id;
    event.end_stream = block_ends_stream_;
    event.request.content_length = content_length;
    event.request.end_stream = block_ends_stream_;
    event.request.version = http::Version::http_2;
    event.request.fields = event.fields;
    return {};
  }
  if (malformed || too_large) {
    streamFailed(stream, id, malformed ? H2Error::protocol_error : H2Error::enhance_your_calm,
                 malformed ? reason : "the fields are too large", event);
    return {};
  }
  event.stream = stream;
  event.stream_id = id;
  event.end_stream = block_ends_stream_;
  if (block_ends_stream_) stream->remote_ended = true;
  if (is_trailers) {
    event.kind = Event::Kind::trailers;
    return {};
  }
  event.response.content_length = content_length;
  event.response.end_stream = block_ends_stream_;
  event.response.version = http::Version::http_2;
  event.response.fields = event.fields;
  event.kind = is_interim ? Event::Kind::interim : Event::Kind::response;
  if (!is_interim) stream->head_received = true;
  return {};
}

}  // namespace plait::h2
