// Header blocks: assembled, decoded, and made into heads (RFC 9113 §4.3, §8.1 to §8.3).
#include <algorithm>

#include "plait/base/prefetch.h"
#include "plait/h2/head_builder.h"
#include "plait/h2/session.h"

namespace plait::h2 {
namespace {

constexpr size_t owner_part_size = 384;

}  // namespace

Status Session::onHeaders(Bytes payload, Event& event) {
  uint32_t padding = 0;
  block_depends_on_itself_ = false;
  if (frame_.has(flags::padded)) {
    if (payload.empty())
      return fail(H2Error::frame_size_error, "padded HEADERS without a padding length (RFC 9113 §6.2)");
    padding = payload[0];
    payload = payload.subspan(1);
  }
  if (frame_.has(flags::priority)) {
    if (payload.size() < 5)
      return fail(H2Error::frame_size_error, "HEADERS is too short for its priority (RFC 9113 §6.2)");
    block_depends_on_itself_ = (loadBe32(payload.data()) & max_stream_id) == frame_.stream_id;
    payload = payload.subspan(5);
  }
  if (padding > payload.size())
    return fail(H2Error::protocol_error, "padding is longer than its HEADERS frame (RFC 9113 §6.2)");
  payload = payload.first(payload.size() - padding);
  block_stream_id_ = frame_.stream_id;
  block_ends_stream_ = frame_.has(flags::end_stream);
  if (frame_.has(flags::end_headers)) return onHeaderBlock(payload, event);
  continuations_ = 0;
  awaiting_continuation_ = true;
  if (!takeCarry(scratch_.carry_blocks.blockSize()))
    return fail(H2Error::enhance_your_calm, "no memory is left for a header block", Fault::no_memory);
  if (!payload.empty()) std::memmove(carry_, payload.data(), payload.size());
  block_size_ = static_cast<uint32_t>(payload.size());
  return {};
}

Status Session::onContinuation(Bytes payload, Event& event) {
  if (++continuations_ > scratch_.config.max_continuations) {
    return fail(H2Error::enhance_your_calm, "a header block of too many CONTINUATION frames",
                Fault::continuation_flood);
  }
  if (!payload.empty()) std::memmove(carry_ + block_size_, payload.data(), payload.size());
  block_size_ += static_cast<uint32_t>(payload.size());
  if (!frame_.has(flags::end_headers)) return {};
  awaiting_continuation_ = false;
  const Bytes block(carry_, block_size_);
  return onHeaderBlock(block, event);
}

bool Session::comesToExcess(const HeadBuilder& head) const {
  const SessionConfig& config = scratch_.config;
  return head.listSize() > excess * size_t{config.max_header_list_size} ||
         head.allCount() > excess * (config.max_fields + config.max_cookie_crumbs);
}

Status Session::onHeaderBlock(Bytes block, Event& event) {
  const uint32_t id = block_stream_id_;
  Stream* stream = find(id);
  // What the owner will need when the fields have been decoded is fetched meanwhile; its part of the slot lies behind.
  if (stream != nullptr) {
    prefetch(stream + 1, owner_part_size);
    for (const Bytes wanted : stream->wanted) prefetch(wanted.data(), wanted.size());
  }
  bool is_request = false;
  if (role_ == Role::server) {
    if (id % 2 == 0) return fail(H2Error::protocol_error, "a client's stream has an even id (RFC 9113 §5.1.1)");
    is_request = id > last_peer_stream_id_;
    if (is_request) {
      if (id > last_peer_stream_id_ + 2) last_gap_ = {last_peer_stream_id_, id};
      last_peer_stream_id_ = id;
    } else if (id > last_gap_.after && id < last_gap_.before) {
      return fail(H2Error::protocol_error, "a stream's id is below that of an earlier one (RFC 9113 §5.1.1)");
    }
  } else if (isIdle(id)) {
    return fail(H2Error::protocol_error, "HEADERS on an idle stream (RFC 9113 §5.1)");
  }
  // The answer to HEADERS on a stream that is over comes when their block has been decoded.
  const bool is_closed = !is_request && (stream == nullptr ? !mayHaveBeenReset(id) : !stream->is_reset);
  const bool is_dropped = !is_request && (stream == nullptr || stream->is_reset || stream->remote_ended);

  if (is_request) {
    event.request = {};
  } else {
    event.response = {};
  }
  const bool is_trailers = stream != nullptr && stream->head_received;
  const auto kind = is_request    ? HeadBuilder::Kind::request
                    : is_trailers ? HeadBuilder::Kind::trailers
                                  : HeadBuilder::Kind::response;
  HeadBuilder head(kind, {scratch_.fields, SessionScratch::header_memory}, scratch_.config.enable_connect_protocol,
                   event.request, event.response);
  head.limit(scratch_.config.max_header_list_size, scratch_.config.max_fields, scratch_.config.max_cookie_crumbs);
  if (is_dropped) head.drop();
  if (block_depends_on_itself_) head.reject("a stream depends on itself (RFC 7540 §5.3.1)");
  HpackDecoder::Cursor cursor(block);
  for (DecodedField field;;) {
    // Every field is decoded, for the tables' sake, also those of a message that is not wanted (RFC 9113 §4.3). But no
    // honest peer sends so much that it is worth more than the connection (§10.5.1).
    if (head.isTooLarge() && comesToExcess(head)) {
      return fail(H2Error::enhance_your_calm, "a header block that comes to many times what is allowed",
                  Fault::message_too_large);
    }
    const auto more = decoder_.next(cursor, field, scratch_.hpack);
    if (!more) return fail(static_cast<H2Error>(more.error().detail), more.error().reason);
    if (!*more) break;
    head.add(field);
  }
  work_ += head.allCount();
  // Whatever becomes of the block, what it came to has been decoded.
  if (role_ == Role::server && head.listSize() > scratch_.config.max_header_list_size) {
    chargeForFields(head.listSize());
    if (reset_tokens_ == 0) return spendReset();
  }
  if (is_request) work_ += work_for_request;
  if (is_dropped) {
    if (!is_closed && (stream == nullptr || !stream->reset_by_peer)) return payFrames(1);
    if (is_closed && isClosedForClient(stream))
      return fail(H2Error::stream_closed, "HEADERS on a closed stream (RFC 9113 §5.1)");
    // After RST_STREAM the owner has heard all there is.
    return streamFailed(is_closed ? stream : nullptr, id, H2Error::stream_closed,
                        "HEADERS after the stream's end (RFC 9113 §5.1)", event);
  }
  head.finish(block_ends_stream_);
  event.fields = head.fields();
  const bool is_too_large = head.isTooLarge();
  if (is_request) {
    // A stream beyond what we announced is refused before anything else is held against it (RFC 9113 §5.1.2).
    // A client may not know yet what was announced, but one that never heeds it only makes work.
    if (id > refuse_above_ || isAtLimit()) {
      if (Status status = spendReset(Fault::stream_flood); !status) return status;
      sendResetById(id, H2Error::refused_stream, nullptr);
      // After GOAWAY a request may have been on its way.
      const Fault fault = id > refuse_above_ ? Fault::none : Fault::stream_flood;
      reject(id, H2Error::refused_stream, fault, "more streams at once than were announced", event);
      return {};
    }
    if (!is_too_large && head.fault() == nullptr) {
      earnFrames(frames_for_headers);
      onRequest(head, event);
      return {};
    }
    const H2Error code = is_too_large ? H2Error::enhance_your_calm : H2Error::protocol_error;
    const char* reason = is_too_large ? "the request's fields are too large" : head.fault();
    if (Status status = streamFailed(nullptr, id, code, reason, event); !status) return status;
    reject(id, code, is_too_large ? Fault::message_too_large : Fault::malformed_message, reason, event);
    return {};
  }
  if (is_too_large) return streamFailed(stream, id, H2Error::enhance_your_calm, "the fields are too large", event);
  if (is_trailers) {
    if (stream->content_left != http::unknown_length && stream->content_left != 0) {
      head.reject("DATA does not add up to Content-Length (RFC 9113 §8.1.1)");
    }
  } else if (head.fault() == nullptr && event.response.status >= 200) {
    measureResponse(*stream, head, event.response.status);
  }
  if (head.fault() != nullptr) return streamFailed(stream, id, H2Error::protocol_error, head.fault(), event);
  event.stream = stream;
  event.stream_id = id;
  event.end_stream = block_ends_stream_;
  if (block_ends_stream_) stream->remote_ended = true;
  if (is_trailers) {
    event.kind = Event::Kind::trailers;
    return {};
  }
  event.response.content_length = head.contentLength();
  event.response.end_stream = block_ends_stream_;
  event.response.version = http::Version::http_2;
  event.response.fields = event.fields;
  if (event.response.status < 200) {
    event.kind = Event::Kind::interim;
    if (stream->interim_count++ < scratch_.config.max_interim_responses) return {};
    const Status status = streamFailed(stream, id, H2Error::enhance_your_calm, "too many interim responses", event);
    event.fault = Fault::interim_flood;
    return status;
  }
  earnFrames(frames_for_headers);
  event.kind = Event::Kind::response;
  stream->head_received = true;
  return {};
}

void Session::onRequest(const HeadBuilder& head, Event& event) {
  pending_request_id_ = block_stream_id_;
  scratch_.pending_request_ended = block_ends_stream_;
  scratch_.pending_request_is_tunnel = head.isConnect();
  scratch_.pending_content_length = head.contentLength();
  event.kind = Event::Kind::request;
  event.stream_id = block_stream_id_;
  event.end_stream = block_ends_stream_;
  event.request.content_length = head.contentLength();
  event.request.end_stream = block_ends_stream_;
  event.request.version = http::Version::http_2;
  event.request.fields = event.fields;
}

// How much DATA may follow a final response head (RFC 9110 §6.4.1, RFC 9113 §8.1.1).
void Session::measureResponse(Stream& stream, HeadBuilder& head, uint16_t status) {
  if (status == 204 || status == 304) stream.expects_no_body = true;
  if (stream.expects_no_body || (stream.is_tunnel && status < 300)) return;
  stream.content_left = head.contentLength();
  if (block_ends_stream_ && stream.content_left != http::unknown_length && stream.content_left != 0) {
    head.reject("a Content-Length without content (RFC 9113 §8.1.1)");
  }
}

}  // namespace plait::h2
