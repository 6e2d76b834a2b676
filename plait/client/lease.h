// A lease: a stream reserved on a ready connection, the wait that leads to one, and the request that uses it up.
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "plait/client/connection.h"
#include "plait/client/pool_options.h"
#include "plait/client/response.h"
#include "plait/io/cancel.h"

namespace plait {

class ConnectionPool;

// A lease is used up by one request. ConnectionPool::release ends it, whether or not there was a request.
class Lease {
 public:
  Lease(ConnectionPool& pool, Connection& connection, EndpointId endpoint)
      : pool_(&pool), connection_(&connection), endpoint_(endpoint) {}
  Lease(Lease&& other) noexcept
      : pool_(other.pool_),
        connection_(std::exchange(other.connection_, nullptr)),
        answered_by_(other.answered_by_),
        endpoint_(other.endpoint_) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease() { PLAIT_ASSERT(connection_ == nullptr); }

  class RequestAwaiter;
  // Sends the request and returns when the final response head is there. A request that was provably not processed is
  // sent again on another connection of the same endpoint, which this lease then stands for; the caller does not
  // notice. Where RequestOptions::attempts says that another endpoint could take it, its error is returned instead.
  // `head`, the options and what they point to must outlive the call, the body's pipe also the Response. Errors: those
  // of Error; a deadline, a cancellation, RST_STREAM and a malformed message reach only the stream.
  RequestAwaiter request(const http::RequestHead& head, const RequestOptions& options, Io& io);

  class PlainRequestAwaiter;
  // The same for a request without fields of its own: an embedder's GET or POST. `host` is the authority; `body` is
  // null for none, else it must outlive the Response. A body that is complete is announced with its length.
  PlainRequestAwaiter request(std::string_view method, std::string_view path, std::string_view host, http::Pipe* body,
                              Io& io);

 private:
  friend class ConnectionPool;
  ConnectionPool* pool_;
  Connection* connection_;        // on which a stream is reserved; null once a request has used it
  ConnectionHandle answered_by_;  // the connection that had the request last
  EndpointId endpoint_;
};

// Waits for a lease (ConnectionPool::getOrCreate). `options` outlive the wait.
class LeaseAwaiter {
 public:
  LeaseAwaiter(ConnectionPool& pool, EndpointId endpoint, const LeaseOptions& options, Io& io)
      : pool_(pool), options_(options), io_(io), endpoint_(endpoint) {}
  bool await_ready();
  bool await_suspend(std::coroutine_handle<> handle);
  Result<Lease> await_resume();

 private:
  // The state of a wait. A request that is served at once needs none.
  struct Waiting {
    explicit Waiting(LeaseAwaiter& awaiter);
    ~Waiting() { cancel_node.node.unlink(); }
    void giveUp(const Error& error);
    RequestOp op;
    Timer timer;
    CancelNode cancel_node;
  };
  ConnectionPool& pool_;
  const LeaseOptions& options_;
  Io& io_;
  EndpointId endpoint_;
  Result<Connection*> result_ = fail({});
  std::optional<Waiting> waiting_;
};

class Lease::RequestAwaiter {
 public:
  RequestAwaiter(Lease& lease, const http::RequestHead& head, const RequestOptions& options, Io& io);
  ~RequestAwaiter() { cancel_node_.node.unlink(); }
  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> handle);
  Result<Response> await_resume();

 private:
  friend class ConnectionPool;
  void complete(const Result<UpstreamStream*>& result);
  // Sends the request again.
  void tryAgain();
  void onTimer();
  Lease& lease_;
  Io& io_;
  RequestOp op_;
  Attempts own_attempts_;
  CancelNode cancel_node_;
  Timer timer_;  // the deadline of the queue
};

class Lease::PlainRequestAwaiter {
 public:
  PlainRequestAwaiter(Lease& lease, std::string_view method, std::string_view path, std::string_view host,
                      http::Pipe* body, Io& io);
  bool await_ready() const { return awaiter_.await_ready(); }
  bool await_suspend(std::coroutine_handle<> handle) { return awaiter_.await_suspend(handle); }
  Result<Response> await_resume() { return awaiter_.await_resume(); }

 private:
  alignas(8) uint8_t memory_[128];  // for Content-Length
  http::RequestHead head_;
  RequestOptions options_;
  RequestAwaiter awaiter_;
};

}  // namespace plait
