// Header blocks, decoded and made into heads (RFC 9113 §4.3, §8.1 to §8.3). Each is admitted (which stream is it for?),
// decoded, judged (is the message one?) and delivered as an event. The steps are one function to the compiler.
#include <algorithm>

#include "plait/base/prefetch.h"
#include "plait/h2/head_builder.h"
#include "plait/h2/session.h"

namespace plait::h2 {
namespace {

constexpr size_t owner_part_size = 384;

}  // namespace

// The facts known of a header block before it is decoded.
struct Session::HeaderBlock {
  uint32_t stream_id;
  Stream* stream;  // null for a request, and where the stream is gone
  HeadBuilder::Kind kind;
  // Nobody waits for it. It is decoded for the tables' sake.
  bool is_wanted;
  // The stream is over, and not because we reset it: a fault, which is answered when the block has been decoded.
  bool is_late;

  bool isRequest() const { return kind == HeadBuilder::Kind::request; }
};

// Which stream the block belongs to, and what it can be there (RFC 9113 §5.1, §5.1.1).
[[gnu::always_inline]] inline Status Session::admit(HeaderBlock& block) {
  const uint32_t id = reader_.blockStreamId();
  Stream* const stream = find(id);
  // Memory that the owner will need when the fields have been decoded is fetched meanwhile. Its part of the slot lies
  // behind the stream.
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
  const bool is_trailers = stream != nullptr && stream->head_received;
  block = {id, stream,
           is_request    ? HeadBuilder::Kind::request
           : is_trailers ? HeadBuilder::Kind::trailers
                         : HeadBuilder::Kind::response,
           is_request || (stream != nullptr && stream->mayReceive()),
           !is_request && (stream == nullptr ? !resets_.mayContain(id) : !stream->isReset())};
  return {};
}

// Every field is decoded, for the tables' sake, also those of a message that is not wanted (RFC 9113 §4.3).
[[gnu::always_inline]] inline Status Session::decode(Bytes bytes, HeadBuilder& head) {
  HpackDecoder::Cursor cursor(bytes);
  for (DecodedField field;;) {
    // No honest peer sends so much that it is worth more than the connection (RFC 9113 §10.5.1).
    if (head.isTooLarge() && comesToExcess(head)) {
      return fail(H2Error::enhance_your_calm, "a header block that comes to many times what is allowed",
                  Fault::message_too_large);
    }
    const auto more = decoder_.next(cursor, field, scratch_.hpack);
    if (!more) return fail(more.error());
    if (!*more) break;
    head.add(field);
  }
  work_ += head.allCount();
  // Whatever becomes of the block, what it came to has been decoded.
  if (role_ == Role::server && head.listSize() > config_.max_header_list_size) {
    chargeForFields(head.listSize());
    if (guards_.resetsLeft() == 0) return spendReset();
  }
  return {};
}

bool Session::comesToExcess(const HeadBuilder& head) const {
  return head.listSize() > excess * size_t{config_.max_header_list_size} ||
         head.allCount() > excess * (config_.max_fields + config_.max_cookie_crumbs);
}

Status Session::onUnwantedBlock(const HeaderBlock& block, Event& event) {
  const Stream* const stream = block.stream;
  // It crossed our RST_STREAM.
  if (!block.is_late && (stream == nullptr || stream->state == StreamState::reset)) return payFrames(1);
  if (block.is_late && isClosedForClient(stream))
    return fail(H2Error::stream_closed, "HEADERS on a closed stream (RFC 9113 §5.1)");
  // After RST_STREAM the owner has heard all there is.
  return streamFailed(block.is_late ? block.stream : nullptr, block.stream_id, H2Error::stream_closed,
                      "HEADERS after the stream's end (RFC 9113 §5.1)", event);
}

// A request that is not one leaves an event that says why. RST_STREAM is then on its way, but for one that may be
// answered.
[[gnu::always_inline]] inline Status Session::judgeRequest(const HeaderBlock& block, const HeadBuilder& head,
                                                           Event& event) {
  const uint32_t id = block.stream_id;
  work_ += work_for_request;
  // A stream beyond what we announced is refused before anything else is held against it (RFC 9113 §5.1.2).
  // A client may not know yet what was announced, but one that never heeds it only makes work.
  if (id > refuse_above_ || streams_.isFull(config_.max_concurrent_streams)) {
    if (Status status = spendReset(Fault::stream_flood); !status) return status;
    sendResetById(id, H2Error::refused_stream, nullptr);
    // After GOAWAY a request may have been on its way.
    const Fault fault = id > refuse_above_ ? Fault::none : Fault::stream_flood;
    reject(id, H2Error::refused_stream, fault, "more streams at once than were announced", event);
    return {};
  }
  if (head.isTooLarge()) return onTooLarge(block, head, event);
  if (head.fault() == nullptr) return {};
  if (Status status = streamFailed(nullptr, id, H2Error::protocol_error, head.fault(), event); !status) return status;
  reject(id, H2Error::protocol_error, Fault::malformed_message, head.fault(), event);
  return {};
}

// A header block that is too large is answered where a client sent it, if the owner likes, at the price of a reset.
// Where a backend sent it, its stream is reset.
Status Session::onTooLarge(const HeaderBlock& block, const HeadBuilder& head, Event& event) {
  if (role_ == Role::client) {
    return streamFailed(block.stream, block.stream_id, H2Error::enhance_your_calm,
                        "the response's fields are too large", event);
  }
  if (Status status = spendReset(); !status) return status;
  const uint16_t status = head.tooLargeStatus();
  const char* const reason = status == 414 ? "the request's target is too long" : "the request's fields are too large";
  if (block.isRequest()) {
    pending_request_id_ = block.stream_id;
    scratch_.pending_request_ended = event.end_stream = reader_.blockEndsStream();
    scratch_.pending_request_is_too_large = true;
    scratch_.pending_content_length = http::unknown_length;
    reject(block.stream_id, H2Error::enhance_your_calm, Fault::message_too_large, reason, event);
  } else {
    if (reader_.blockEndsStream()) block.stream->endRemote();
    block.stream->was_too_large = true;
    setStreamError(block.stream, block.stream_id, H2Error::enhance_your_calm, reason, event);
  }
  event.status = status;
  return {};
}

// A response's head, or trailers of either side. Where something is wrong with them the stream is over, which is the
// event.
inline Status Session::judgeResponse(const HeaderBlock& block, HeadBuilder& head, Event& event) {
  Stream& stream = *block.stream;
  if (head.isTooLarge()) return onTooLarge(block, head, event);
  if (block.kind == HeadBuilder::Kind::trailers) {
    if (stream.content_left != http::unknown_length && stream.content_left != 0) {
      head.reject("DATA does not add up to Content-Length (RFC 9113 §8.1.1)");
    }
  } else if (head.fault() == nullptr && event.response.status >= 200) {
    measureResponse(stream, head, event.response.status);
  }
  if (head.fault() == nullptr) return {};
  return streamFailed(&stream, block.stream_id, H2Error::protocol_error, head.fault(), event);
}

inline void Session::deliverRequest(const HeadBuilder& head, Event& event) {
  earnFrames(Guards::frames_for_headers);
  pending_request_id_ = reader_.blockStreamId();
  scratch_.pending_request_ended = reader_.blockEndsStream();
  scratch_.pending_request_is_too_large = false;
  scratch_.pending_content_length = head.contentLength();
  event.kind = Event::Kind::request;
  event.stream_id = reader_.blockStreamId();
  event.end_stream = reader_.blockEndsStream();
  event.request.content_length = head.contentLength();
  event.request.end_stream = reader_.blockEndsStream();
  event.request.version = http::Version::http_2;
  event.request.fields = event.fields;
}

inline Status Session::deliverResponse(const HeaderBlock& block, const HeadBuilder& head, Event& event) {
  Stream& stream = *block.stream;
  event.stream = &stream;
  event.stream_id = block.stream_id;
  event.end_stream = reader_.blockEndsStream();
  if (event.end_stream) stream.endRemote();
  if (block.kind == HeadBuilder::Kind::trailers) {
    event.kind = Event::Kind::trailers;
    return {};
  }
  event.response.content_length = head.contentLength();
  event.response.end_stream = event.end_stream;
  event.response.version = http::Version::http_2;
  event.response.fields = event.fields;
  if (event.response.status < 200) {
    event.kind = Event::Kind::interim;
    if (stream.interim_count++ < config_.max_interim_responses) return {};
    const Status status =
        streamFailed(&stream, block.stream_id, H2Error::enhance_your_calm, "too many interim responses", event);
    event.fault = Fault::interim_flood;
    return status;
  }
  earnFrames(Guards::frames_for_headers);
  event.kind = Event::Kind::response;
  stream.head_received = true;
  return {};
}

// How much DATA may follow a final response head (RFC 9110 §6.4.1, RFC 9113 §8.1.1).
void Session::measureResponse(Stream& stream, HeadBuilder& head, uint16_t status) {
  if (status == 204 || status == 304) stream.content = Content::none;
  if (stream.content == Content::none || (stream.content == Content::tunnel && status < 300)) return;
  stream.content_left = head.contentLength();
  if (reader_.blockEndsStream() && stream.content_left != http::unknown_length && stream.content_left != 0) {
    head.reject("a Content-Length without content (RFC 9113 §8.1.1)");
  }
}

Status Session::onHeaderBlock(Bytes bytes, Event& event) {
  HeaderBlock block;
  if (Status status = admit(block); !status) return status;
  if (block.isRequest()) {
    event.request = {};
  } else {
    event.response = {};
  }
  HeadBuilder head(block.kind, {scratch_.fields, SessionScratch::header_memory}, config_.enable_connect_protocol,
                   event.request, event.response);
  head.limit(config_.max_header_list_size, config_.max_fields, config_.max_cookie_crumbs, config_.max_target_size);
  if (!block.is_wanted) head.drop();
  if (reader_.blockDependsOnItself()) head.reject("a stream depends on itself (RFC 7540 §5.3.1)");
  if (Status status = decode(bytes, head); !status) return status;
  if (!block.is_wanted) return onUnwantedBlock(block, event);
  head.finish(reader_.blockEndsStream());
  event.fields = head.fields();
  if (block.isRequest()) {
    if (Status status = judgeRequest(block, head, event); !status || event.kind != Event::Kind::none) return status;
    deliverRequest(head, event);
    return {};
  }
  if (Status status = judgeResponse(block, head, event); !status || event.kind != Event::Kind::none) return status;
  return deliverResponse(block, head, event);
}

}  // namespace plait::h2
