// The pool of connections to all backends of one worker. The whole upstream side is two calls and a release:
//
//   auto lease = co_await pool.getOrCreate(backend_idx, io);
//   auto response = co_await (*lease)->request(head, options, io);
//   pool.release(*lease, response || !response.error().reachesConnection(), io);
//
// Slots count ready connections. Dead ones that still drain hold none; the slabs and the drain deadline bound them.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plait/client/h1_connection.h"
#include "plait/client/h2_connection.h"
#include "plait/client/response.h"
#include "plait/limits.h"

namespace plait {

// h2c: HTTP/2 by prior knowledge. https: TLS, where ALPN chooses between HTTP/2 and HTTP/1.1. h1: HTTP/1.1. probe: the
// HTTP/2 preface is tried before any request, and what the backend makes of it is remembered.
enum class BackendProtocol : uint8_t { h2c, https, h1, probe };

struct BackendOptions {
  std::string name;  // as in the configuration, for logs and metrics
  BackendProtocol protocol = BackendProtocol::probe;
  std::string host;
  uint16_t port = 0;
  std::string server_name;    // SNI and verification; the host where empty
  TlsContext* tls = nullptr;  // with https; must outlive the pool
};

struct PoolTimeouts {
  int64_t connect_ms = 3000;
  int64_t queue_ms = 5000;
  int64_t probe_ms = 1000;
  int64_t idle_ms = 90'000;
  int64_t stream_idle_ms = 900'000;    // no byte of a response, with nothing of it waiting for the client
  int64_t tunnel_idle_ms = 3'600'000;  // no byte either way through a tunnel
  int64_t ping_ms = 15'000;            // silence with streams open, after which the backend is asked; 0: never
  int64_t ping_answer_ms = 10'000;
  int64_t shrink_ms = 10'000;  // how often a connection asks whether it is still needed
  int64_t drain_ms = 30'000;
  int64_t max_age_ms = 3'600'000;
  int64_t backoff_min_ms = 20;
  int64_t backoff_max_ms = 1000;
};

// Counted by the worker alone; other threads read them relaxed.
struct PoolCounters {
  uint64_t connects = 0;
  uint64_t connect_failures = 0;
  uint64_t retries_unprocessed = 0;
  uint64_t retries_unknown = 0;
  uint64_t requests = 0;
  uint64_t queue_waits = 0;
  // By Fault: what backends did wrong.
  std::array<uint64_t, fault_count> stream_faults{};
  std::array<uint64_t, fault_count> connection_faults{};
};

// Hears when a backend becomes unreachable or is reached again: when that changes, not each time.
class PoolObserver {
 public:
  virtual void onBackendDown(uint32_t backend_idx, const Error& error) = 0;
  virtual void onBackendUp(uint32_t backend_idx) = 0;
  // What a backend did wrong on a connection or a stream (the error's reach): each time, however often.
  virtual void onBackendFault(uint32_t, const Error&, TimeNs) {}

 protected:
  ~PoolObserver() = default;
};

// A stream reserved on a ready connection: pointer-like, and used up by one request.
class Lease {
 public:
  Lease(ConnectionPool& pool, Connection& connection)
      : pool_(&pool), connection_(&connection), backend_idx_(connection.backendIdx()) {}
  Lease(Lease&& other) noexcept
      : pool_(other.pool_),
        connection_(std::exchange(other.connection_, nullptr)),
        answered_by_(other.answered_by_),
        backend_idx_(other.backend_idx_) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease() { PLAIT_ASSERT(connection_ == nullptr); }

  Lease* operator->() { return this; }

  class RequestAwaiter;
  // Sends the request and returns when the final response head is there. A request that was provably not processed is
  // sent again on another connection of the same backend, which this lease then stands for; the caller does not notice.
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
  Connection* connection_;    // on which a stream is reserved; null once a request has used it
  uint64_t answered_by_ = 0;  // serial of the connection that had the request last
  uint32_t backend_idx_;
};

class ConnectionPool {
 public:
  // Everything is reserved here; `resolver`s are reached through the Io. References must outlive the pool.
  ConnectionPool(Io& io, const Limits& limits, const PoolTimeouts& timeouts, std::vector<BackendOptions> backends,
                 const UpstreamMemory& memory, BlockSlab& send_blocks, BlockSlab& record_blocks);
  ~ConnectionPool();

  class LeaseAwaiter {
   public:
    LeaseAwaiter(ConnectionPool& pool, uint32_t backend_idx, CancelToken* cancel, Io& io)
        : pool_(pool), cancel_(cancel), io_(io), backend_idx_(backend_idx) {}
    bool await_ready();
    bool await_suspend(std::coroutine_handle<> handle);
    Result<Lease> await_resume();

   private:
    // What only a request needs that is not served at once.
    struct Waiting {
      explicit Waiting(LeaseAwaiter& awaiter);
      ~Waiting() { cancel_node.node.unlink(); }
      void giveUp(const Error& error);
      RequestOp op;
      Timer timer;
      CancelNode cancel_node;
    };
    ConnectionPool& pool_;
    CancelToken* cancel_;
    Io& io_;
    uint32_t backend_idx_;
    Result<Connection*> result_ = fail({});
    std::optional<Waiting> waiting_;
  };
  // A stream on the least loaded ready connection of that backend, or on the one that a request of the same turn has
  // just been given; dials where there is none and waits in line where all are full. Errors: connect_failed,
  // connect_timeout, resolve_failed, tls_failed (the backend cannot be reached, or was tried a moment ago and is left
  // alone), pool_exhausted (no room before the queue's deadline), the token's error.
  LeaseAwaiter getOrCreate(uint32_t backend_idx, Io& io, CancelToken* cancel = nullptr) {
    return LeaseAwaiter(*this, backend_idx, cancel, io);
  }
  // Ends a lease. Not `success`: its connection, or the one that had its request last, is retired; what still runs on
  // it finishes.
  void release(Lease& lease, bool success, Io& io);

  // True when a tunnel to that backend is possible: over HTTP/1.1, unless it was configured as h2c or has refused that.
  bool takesTunnels(uint32_t backend_idx) const {
    const Backend& backend = *backends_[backend_idx];
    return backend.options.protocol != BackendProtocol::h2c && !backend.refuses_http1;
  }

  uint32_t backendCount() const { return static_cast<uint32_t>(backends_.size()); }
  const BackendOptions& backend(uint32_t backend_idx) const { return backends_[backend_idx]->options; }
  // When the backend may be dialled again; 0 when it may be now.
  TimeNs retryAt(uint32_t backend_idx) const { return backends_[backend_idx]->not_before_ns; }
  bool isUp(uint32_t backend_idx) const {
    return readyConnections(backend_idx) != 0 || backends_[backend_idx]->failures == 0;
  }
  uint32_t readyConnections(uint32_t backend_idx) const {
    return backends_[backend_idx]->h2.ready_count + backends_[backend_idx]->h1.ready_count;
  }
  const PoolCounters& counters() const { return counters_; }
  const Limits& limits() const { return limits_; }
  const PoolTimeouts& timeouts() const { return timeouts_; }
  Io& io() { return io_; }
  // What a pool with these limits reserves: for connections, and for requests on them.
  static size_t connectionBytes(const Limits& limits);
  static size_t streamBytes(const Limits& limits);
  size_t reservedBytes() const;
  void prefault();
  size_t connectionCount() const { return socks_.used(); }
  size_t connectionPeak() const { return socks_.peak(); }
  http::ReplayBudget& replayBudget() { return replay_budget_; }
  uint64_t nextSerial() { return ++last_serial_; }

  // Null for none; must outlive the pool.
  void setObserver(PoolObserver* observer) { observer_ = observer; }

  // Retires every connection and waits until the last is closed.
  Task<void> close(Io& io);

  // -- for connections
  // Counts and tells a backend's fault; an error that is none is ignored.
  void noteFault(uint32_t backend_idx, const Error& error);
  void onRetired(Connection& connection);
  void onRoom(Connection& connection);  // a stream ended, or the peer allows more
  // True when the others of its kind could carry everything and be less than a quarter full.
  bool isSuperfluous(const Connection& connection) const;
  // A connection for HTTP/1.1 ended without an answer that is HTTP/1.1. Where a probe's silence was all that spoke for
  // that version, the next connection asks again. False where the configuration says which version it is.
  bool doubtHttp1(uint32_t backend_idx);
  // The answer to a request for a tunnel was HTTP/2: it is to be repeated, which gives the tunnel up. False where the
  // request needs HTTP/1.1 for another reason.
  bool waivesTunnel(RequestOp& op);
  // How many streams the backend's last connection allowed, for the time before a new one has said.
  uint32_t rememberedStreams(uint32_t backend_idx) const { return backends_[backend_idx]->remembered_streams; }
  void rememberStreams(uint32_t backend_idx, uint32_t count) { backends_[backend_idx]->remembered_streams = count; }
  // The end of a try. Decides whether there is another one (README.md, "Retries").
  void finished(RequestOp& op, Result<UpstreamStream*> result);
  // The stream that was reserved for `op` cannot be had after all: it waits for another, which is no repeat.
  void waitAgain(RequestOp& op);
  UpstreamMemory& memory() { return memory_; }
  h2::SessionScratch& scratch() { return *scratch_; }
  Slab<H2UpstreamStream>& h2Streams() { return h2_streams_; }
  Slab<H1UpstreamStream>& h1Streams() { return h1_streams_; }

 private:
  friend class Lease;
  friend class Lease::RequestAwaiter;

  // The connections of one version of HTTP to one backend, and who waits for them.
  struct Lane {
    bool is_http1 = false;
    List<Connection, &Connection::node_> ready;
    uint32_t ready_count = 0;
    List<RequestOp, &RequestOp::queue_node> queue;
    uint32_t dialling = 0;
    // Who was picked last, in which turn of the loop, and how many more requests of that turn go there.
    Connection* picked = nullptr;
    uint32_t picked_in_turn = 0;
    uint32_t run_left = 0;
  };
  struct Backend {
    BackendOptions options;
    Lane h2;
    Lane h1;
    uint32_t idx = 0;
    uint32_t failures = 0;
    uint32_t remembered_streams = 0;
    TimeNs not_before_ns = 0;
    // As configured, or found out by ALPN or a probe; forgotten when it cannot be reached.
    bool speaks_http1 = false;
    // Found out by ALPN, when a request needed it; forgotten likewise.
    bool refuses_http1 = false;
  };
  // What a dial ended with: a socket that is ready for this version of HTTP.
  struct Opened {
    Connection* connection = nullptr;
    Bytes first;  // what a probe has read already
  };
  List<Connection, &Connection::all_node_> all_;

  Lane& laneOf(Backend& backend, bool needs_http_1_1) {
    return backend.speaks_http1 || needs_http_1_1 ? backend.h1 : backend.h2;
  }
  Lane& laneOf(const Connection& connection) {
    Backend& backend = *backends_[connection.backendIdx()];
    return connection.isHttp1() ? backend.h1 : backend.h2;
  }
  Connection* pick(Lane& lane);
  // Reserves a stream on a connection that has room; null where there is none, or others wait already.
  Connection* reserveNow(Backend& backend, Lane& lane);
  // Reserves a stream for `op` now or later: its on_leased is called once, possibly before this returns.
  void acquire(RequestOp& op);
  // The same for an op for which reserveNow() has found nothing.
  void waitInLine(RequestOp& op);
  void serve(Backend& backend, Lane& lane);
  void makeRoom(const Lane& lane);
  void serveWaiting();
  void failQueue(Lane& lane, const Error& error);
  bool needsDial(Backend& backend, Lane& lane);
  void dialIfNeeded(Backend& backend, Lane& lane);
  Task<void> dial(Backend& backend, Lane& lane, UltraSock& socket, Io& io);
  Task<Status> open(Backend& backend, UltraSock& sock, AlpnOffer offer, Io& io);
  Task<Status> probe(Backend& backend, UltraSock& sock, Opened& opened, Io& io);
  void onDialFailed(Backend& backend, Lane& lane, const Error& error);
  void learnHttp1(Backend& backend);
  void learnHttp2Only(Backend& backend, const Error& error);
  void destroy(Connection& connection);
  void startTry(RequestOp& op);
  bool mayRetry(RequestOp& op, const Error& error);
  bool takeUnknownToken();

  Io& io_;
  Limits limits_;
  PoolTimeouts timeouts_;
  UpstreamMemory memory_;
  BlockSlab& send_blocks_;
  SockRoom sock_room_;
  Slab<UltraSock> socks_;
  Slab<H2Connection> h2_connections_;
  Slab<H1Connection> h1_connections_;
  Slab<H2UpstreamStream> h2_streams_;
  Slab<H1UpstreamStream> h1_streams_;
  std::unique_ptr<h2::SessionScratch> scratch_;
  std::vector<std::unique_ptr<Backend>> backends_;
  PoolCounters counters_;
  http::ReplayBudget replay_budget_;
  uint64_t unknown_tokens_x100_;
  uint64_t last_serial_ = 0;
  Scope scope_;
  PoolObserver* observer_ = nullptr;
  uint32_t next_served_ = 0;  // whose requests are looked at first when a connection's place becomes free
  bool closing_ = false;
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
  void complete(Result<UpstreamStream*> result);
  // Sends the request again, at once or after `pause_ms`.
  void tryAgain(int64_t pause_ms);
  void onTimer();
  Lease& lease_;
  Io& io_;
  RequestOp op_;
  CancelNode cancel_node_;
  Timer timer_;  // a pause before another try, then the deadline of the queue
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
