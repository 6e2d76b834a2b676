// A connection that speaks HTTP/1.1 to its backend: a connection whose capacity is one stream, behind the same
// request().
//
//   idle ── request ──▶ head ── final head ──▶ body ──▶ idle            (kept alive, both messages complete)
//                        │ 101                  └─────▶ closed          (all else)
//                        └──▶ tunnel ── both ends, or a reset ──▶ closed
//
// HTTP/1.1 cannot give up a request without its connection: cancellation and deadlines end both.
#pragma once

#include "plait/client/connection.h"
#include "plait/h1/body_decoder.h"
#include "plait/h1/parser.h"
#include "plait/h1/writer.h"
#include "plait/net/buffered_input.h"

namespace plait {

class H1Connection;

struct H1UpstreamStream final : public UpstreamStream {
  H1UpstreamStream(ConnectionPool& pool, H1Connection& connection);

  // http::BodyProducer, of the response
  void onConsumed(size_t count) override;
  void onConsumerGone(const Error& error) override;
  // http::BodyConsumer, of the request
  size_t onBody(Bytes bytes, bool last) override;
  bool onBodyEnd(const http::FieldList* trailers) override;
  void onBodyAborted(const Error& error) override;
  void abandon(const Error& error) override;

 private:
  friend class H1Connection;
  H1Connection* connection_;  // null once closed
};

class H1Connection final : public Connection {
 public:
  H1Connection(ConnectionPool& pool, Endpoint& endpoint, UltraSock& sock);
  ~H1Connection() override = default;

  bool isTunnel() const override { return phase_ == Phase::tunnel; }
  void request(RequestOp& op) override;
  void onOutputDrained() override;
  void onPeerClosed() override;
  Task<void> run(Bytes first, Io& io) override;

 private:
  friend struct H1UpstreamStream;
  enum class Phase : uint8_t { idle, head, body, tunnel };

  TimeNs checkStreams(TimeNs now_ns) override;
  void forEachStream(void (*use)(void* context, UpstreamStream& stream), void* context) override;
  void onBrokenOff() override;
  // Parses the bytes that were read, as far as possible; an error ends the connection.
  Status feed();
  Status feedHead(bool& needs_more);
  Status feedBody(bool& needs_more);
  Status onHead(const h1::HeadParse& parse, http::ResponseHead& head);
  // The backend has closed its side: an error if that breaks a message off.
  Status onEndOfStream();
  // The backend has ended its direction of a tunnel, and the client may still send.
  bool isHalfOpen() const;
  void onHalfClosed();
  void lookAtTunnel();
  // When checkStreams() should be asked again.
  TimeNs nextLook(TimeNs now_ns) const;
  void onResponseEnd();
  void finishStream();
  void failStream(const Error& error);
  bool isReaderPaused() const;
  void wakeReader();
  void showLife();

  struct ResumeAwaiter;
  struct ChangeAwaiter;

  BufferedInput input_;
  h1::Limits limits_;
  h1::BodyDecoder decoder_;
  http::ConnectionTokens nominated_;  // by the response under way; its views lie in the stream's head
  h1::BodyWriter writer_;
  H1UpstreamStream* stream_ = nullptr;
  std::coroutine_handle<> paused_reader_;
  uint64_t start_position_ = 0;  // of the request in the socket's output
  size_t scanned_ = 0;
  uint32_t interim_count_ = 0;  // 1xx heads of this response
  int64_t silence_ms_ = 0;      // how long a response or a tunnel may show no sign of life
  uint64_t tunnel_taken_ = 0;   // bytes that the backend had acknowledged at the last look
  Phase phase_ = Phase::idle;
  bool keep_alive_ = false;
  bool has_answered_ = false;  // in HTTP/1.1
  bool is_reused_ = false;     // the present request is not its first, and no byte of an answer to it has come
  bool holds_tunnel_ = false;  // the present request is among the pool's tunnels
};

}  // namespace plait
