// Request bodies of a client that speaks HTTP/2: the credit that goes back for them, and uploads that are stuck.
#include <algorithm>

#include "plait/base/rare.h"
#include "plait/server/h2_conversation.h"
#include "plait/server/server.h"

namespace plait {

using h2::H2Error;

void H2Exchange::onConsumed(size_t count) {
  received_ns_ = stuck_since_ns_ = io_.nowNs();
  server_.onTaken(*this, count);
}

// Bytes that nobody will take any more may still count against the connection's window.
void H2Exchange::creditRest() {
  server_.held_ -= std::exchange(held_, 0);
  if (uncredited_ == 0) return;
  server_.uncredited_ -= uncredited_;
  server_.session_.credit(nullptr, std::exchange(uncredited_, 0));
  server_.connection_.sock().flushLater();
}

void H2Exchange::onConsumerGone(const Error&) {
  creditRest();
  server_.connection_.noteUploadTaken();
  server_.connection_.server().uploads.noteFreed();
  // The rest of the request is not wanted: what still comes is taken and dropped until the response is complete.
}

// DATA has come for a backend. While memory for uploads is ample it does not count against the connection's window any
// more: what waits on a stream that is stuck is in the way of that stream alone.
void H2Conversation::onReceived(H2Exchange& exchange, uint32_t count) {
  Server& server = connection_.server();
  round_trip_.noteData();
  if (exchange.held_ == 0) exchange.stuck_since_ns_ = server.io.nowNs();
  exchange.held_ += count;
  held_ += count;
  if (server.uploads.isAmple()) [[likely]]
    return creditConnection(count);
  PLAIT_RARE("what an upload sends counts until it has left");
  exchange.uncredited_ += count;
  uncredited_ += count;
  server.uploads.watch();
}

// Windows are promises of memory: they grow where the round trip is what holds a client up, while most of it is free.
void H2Conversation::creditConnection(size_t count) {
  const Server& server = connection_.server();
  const auto taken = growth_.take(count, window_, server.io.nowNs(), round_trip_.ns());
  session_.credit(nullptr, count);
  // All of the window has been used, if not by one stream.
  if (taken != h2::WindowGrowth::Taken::part && round_trip_.isDue(server.io.nowNs())) {
    session_.sendPing(round_trip_.ask(server.io.nowNs()));
  }
  if (taken != h2::WindowGrowth::Taken::fast || !server.uploads.isAmple()) return;
  const ServerLimits& limits = server.limits;
  const uint64_t most = std::min(limits.client_connection_window, limits.upload_pool_bytes / 4);
  window_ = static_cast<uint32_t>(std::clamp<uint64_t>(most, window_, uint64_t{window_} * 2));
  session_.growConnectionWindow(window_);
}

void H2Conversation::onTaken(H2Exchange& exchange, size_t count) {
  Server& server = connection_.server();
  const TimeNs now_ns = server.io.nowNs();
  exchange.held_ -= static_cast<uint32_t>(count);
  held_ -= static_cast<uint32_t>(count);
  if (exchange.uncredited_ != 0) {
    const uint32_t late = std::min(exchange.uncredited_, static_cast<uint32_t>(count));
    exchange.uncredited_ -= late;
    uncredited_ -= late;
    creditConnection(late);
  }
  // Bytes that follow a complete response are not needed, except in a tunnel: each of its directions ends by itself.
  const bool is_wanted = !exchange.hasSentEnd() || exchange.content == h2::Content::tunnel;
  if (exchange.mayReceive() && is_wanted) {
    const uint32_t window = exchange.receive_window_size;
    const auto taken = exchange.growth_.take(count, window, now_ns, round_trip_.ns());
    // As for responses (H2Connection::onTaken).
    const bool may_be_long = exchange.content_left != http::unknown_length || taken != h2::WindowGrowth::Taken::part;
    const bool exceeds = exchange.content_left > exchange.receive_window.available();
    if (may_be_long && exceeds && round_trip_.isDue(now_ns)) session_.sendPing(round_trip_.ask(now_ns));
    if (taken == h2::WindowGrowth::Taken::fast && exceeds && server.uploads.isAmple()) {
      exchange.credit += static_cast<uint32_t>(count);
      count = 0;
      const size_t share = server.uploads.blocks.available() / 8 * server.loop_limits.streamBlockPayload();
      session_.growStreamWindow(exchange,
                                static_cast<uint32_t>(std::min<size_t>({size_t{window} * 2, window_, share})));
    }
    session_.creditStream(exchange, count);
  }
  connection_.sock().flushLater();
  connection_.noteUploadTaken();
  server.uploads.noteFreed();
}

void H2Conversation::creditWaiting() {
  if (uncredited_ == 0) return;
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr; stream = session_.streams().next(*stream))
    static_cast<H2Exchange*>(stream)->uncredited_ = 0;
  session_.credit(nullptr, std::exchange(uncredited_, 0));
  connection_.sock().flushLater();
}

size_t H2Conversation::stuckUpload(TimeNs before_ns) {
  size_t stuck = 0;
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr; stream = session_.streams().next(*stream)) {
    const auto& exchange = *static_cast<H2Exchange*>(stream);
    if (exchange.held_ != 0 && exchange.stuck_since_ns_ <= before_ns) stuck += exchange.held_;
  }
  return stuck;
}

void H2Conversation::endStuckUpload() {
  H2Exchange* longest = nullptr;
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr; stream = session_.streams().next(*stream)) {
    auto& exchange = *static_cast<H2Exchange*>(stream);
    if (exchange.held_ == 0 || (longest != nullptr && longest->stuck_since_ns_ <= exchange.stuck_since_ns_)) continue;
    longest = &exchange;
  }
  if (longest == nullptr) return;
  PLAIT_RARE("a stuck upload is ended");
  const Error error = stuckUploadError();
  connection_.server().noteFault(connection_.client(), error);
  if (!longest->head_sent_)
    longest->respondError({.status = 408, .text = stuck_upload_text, .error = "http_request_error"});
  if (!longest->head_sent_ || !longest->hasSentEnd()) session_.sendReset(*longest, H2Error::enhance_your_calm);
  connection_.sock().flushLater();
  longest->clientGone(error);
  longest->creditRest();
}

// No DATA is taken that could not be kept. A client that uploads nothing is not concerned.
bool H2Conversation::mustPause() {
  if (connection_.server().uploads.takes(held_)) return false;
  for (h2::Stream* stream = session_.streams().front(); stream != nullptr; stream = session_.streams().next(*stream)) {
    const auto& exchange = *static_cast<H2Exchange*>(stream);
    const http::Pipe* const body = exchange.requestBody();
    if (body != nullptr && exchange.mayReceive() && !body->isAborted() && !body->isFinished()) return true;
  }
  return false;
}

}  // namespace plait
