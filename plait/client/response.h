// A response whose head is there and whose body streams. It is a borrower of its connection: the lease may be released
// before the body has been read, as the design note does.
#pragma once

#include <utility>

#include "plait/client/connection.h"

namespace plait {

class Response {
 public:
  Response() = default;
  explicit Response(UpstreamStream& stream) : stream_(&stream) { stream.borrowed = true; }
  Response(Response&& other) noexcept
      : stream_(std::exchange(other.stream_, nullptr)), given_(std::exchange(other.given_, 0)) {}
  Response& operator=(Response&& other) noexcept {
    std::swap(stream_, other.stream_);
    std::swap(given_, other.given_);
    return *this;
  }
  // A body that was not read to its end is given up: the stream is reset with CANCEL, the connection lives on.
  ~Response() {
    if (stream_ != nullptr) stream_->abandon(streamError(ErrorCode::cancelled, "the response was not read to its end"));
  }

  // Status and fields, valid as long as the Response.
  const http::ResponseHead& head() const { return stream_->head; }
  uint16_t status() const { return stream_->head.status; }
  // The body's pipe: the forwarder attaches a consumer to it.
  http::Pipe& pipe() { return stream_->response_pipe; }
  EndpointId endpoint() const { return stream_->endpoint(); }

  class ReadAwaiter final : public http::BodyConsumer {
   public:
    ReadAwaiter(http::Pipe& pipe, size_t& given, Io& io) : pipe_(pipe), given_(given), io_(io) {}
    bool await_ready() {
      if (!pipe_.isAborted()) pipe_.consumed(std::exchange(given_, 0));
      return isReady();
    }
    void await_suspend(std::coroutine_handle<> handle) {
      handle_ = handle;
      pipe_.attach(*this);
    }
    Result<Bytes> await_resume() {
      pipe_.detach();
      if (pipe_.isAborted()) return fail(pipe_.error());
      given_ = pipe_.front().size();
      return pipe_.front();
    }
    // The bytes stay in the pipe until they are read; here they only wake the reader.
    size_t onBody(Bytes, bool) override {
      wake();
      return 0;
    }
    bool onBodyEnd(const http::FieldList*) override {
      wake();
      return false;
    }
    void onBodyAborted(const Error&) override { wake(); }

   private:
    bool isReady() const { return pipe_.isAborted() || pipe_.isEnded() || !pipe_.front().empty(); }
    void wake() {
      if (handle_) io_.ready(std::exchange(handle_, nullptr));
    }
    http::Pipe& pipe_;
    size_t& given_;
    Io& io_;
    std::coroutine_handle<> handle_;
  };
  // The next bytes of the body, valid until the next call; empty at its end, when trailers() is there.
  ReadAwaiter read(Io& io) { return ReadAwaiter(pipe(), given_, io); }
  // Null when there are none, or the body has not ended yet.
  const http::FieldList* trailers() const { return stream_->response_pipe.trailers(); }

 private:
  UpstreamStream* stream_ = nullptr;
  size_t given_ = 0;  // bytes that the last read() showed, which the next one takes away
};

}  // namespace plait
