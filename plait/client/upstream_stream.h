// One request on one upstream connection, from its HEADERS to the last byte of its response, whatever the protocol.
// It consumes the request's body and produces the response's. The slot lives until both sides are done with it: the
// protocol (`closed`) and the borrower (a RequestOp that waits for the head, then a Response that reads the body).
#pragma once

#include "plait/client/request.h"

namespace plait {

class ConnectionPool;

struct UpstreamMemory {
  BlockSlab& stream_blocks;
  http::HeaderSlab& headers;
};

class UpstreamStream : public http::BodyProducer, public http::BodyConsumer {
 public:
  UpstreamStream(ConnectionPool& pool, EndpointId endpoint, const UpstreamMemory& memory)
      : response_pipe(memory.stream_blocks, memory.headers),
        head_block(memory.headers),
        pool_(pool),
        endpoint_(endpoint) {}

  http::Pipe response_pipe;
  http::HeaderBlock head_block;
  http::ResponseHead head;
  RequestOp* op = nullptr;  // waits for the head
  http::Pipe* request_pipe = nullptr;
  TimeNs deadline_ns = never_ns;  // for the head; afterwards for the next sign of progress
  bool borrowed = false;          // a Response is open
  bool closed = false;            // the protocol has nothing more to say about this stream
  uint32_t idle_ms = 0;           // RequestOptions::idle_ms
  bool is_counted = false;        // among its client's share (ConnectionPool::countShare)
  uint32_t lent_blocks = 0;       // of ConnectionPool::windows, for a window of HTTP/2 that has grown
  ClientKey client;

  EndpointId endpoint() const { return endpoint_; }

  // The borrower gives up: the stream is reset if it still runs. The slot may be gone afterwards.
  virtual void abandon(const Error& error) = 0;

 protected:
  ~UpstreamStream() = default;

  // The connection may be gone before the last borrower is; the pool never is.
  ConnectionPool& pool_;

 private:
  EndpointId endpoint_;
};

}  // namespace plait
