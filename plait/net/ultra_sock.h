// UltraSock: one socket, plain TCP or TLS, one interface.
//
//   inbound   kernel → lent ring buffer → (TLS: plaintext block) → recv()
//   outbound  output() → (TLS: cipher queue) → one gathered send a turn → kernel
//
// Everything that a turn appends to output() leaves in one send at the end of the turn (flushLater), as long as it lies
// in no more than Io::max_vectors pieces. Receiving is armed once and completes many times; a socket nobody reads from
// stops after a few buffers, and at once where half of the worker's buffers are out (one that was in bulk may have some
// more by then): that is back-pressure, and no number of slow readers can take the buffers of the others. Any failure,
// from either side or from abort(), is remembered once and reported by every later call.
#pragma once

#include <optional>

#include "plait/base/byte_queue.h"
#include "plait/io/op_awaiter.h"
#include "plait/io/task.h"
#include "plait/net/tls.h"

namespace plait {

// What a socket with TLS has beside. It is lent from startTls() to close(), so that a plain one holds none of it.
struct TlsPart {
  TlsPart(TlsContext& context, BlockSlab& send_blocks, std::string_view server_name, AlpnOffer offer, Timer::Fire fire,
          void* owner)
      : cipher(send_blocks), session(context, cipher, server_name, offer), record_timer(owner, fire) {}

  ByteQueue cipher;
  TlsSession session;
  uint8_t* record = nullptr;  // decrypted, and being read
  // Blocks for records are given back within a turn or two, so whoever finds none looks again.
  Timer record_timer;
};

// What a socket has beside while a send is under way.
struct Sending {
  Op op;
  iovec vector;              // where there is only one,
  iovec* vectors = nullptr;  // else these, lent
};

// What only some of one owner's sockets have at a time, lent to them from here, so that an idle one is small.
struct SockRoom {
  // `blocks` (at least 16 KiB) hold one decrypted record each while it is being read, and must outlive this. There is
  // enough of everything else for as many `sockets`.
  SockRoom(BlockSlab& blocks, size_t sockets)
      : record_blocks(blocks), tls_parts(sockets), spilled(sockets), sendings(sockets) {}
  static size_t bytesFor(size_t sockets) {
    return Slab<TlsPart>::bytesFor(sockets) + Slab<ByteQueue>::bytesFor(sockets) + Slab<Sending>::bytesFor(sockets);
  }
  size_t reservedBytes() const {
    return tls_parts.reservedBytes() + spilled.reservedBytes() + sendings.reservedBytes();
  }
  void prefault() {
    tls_parts.prefault();
    spilled.prefault();
    sendings.prefault();
  }

  BlockSlab& record_blocks;
  Slab<TlsPart> tls_parts;
  Slab<ByteQueue> spilled;
  Slab<Sending> sendings;
};

class UltraSock final : Io::Flusher, BufferPool::Waiter {
 public:
  // Told about output by the socket, from the event loop, never from inside a call to the socket.
  class Owner {
   public:
    // Some output has left, and unsent() is below the low-water mark: there is room for more.
    virtual void onOutputDrained() = 0;
    // Output waits for a block to encrypt it into, and nothing under way will free one: look again in a while.
    virtual void onStarved() {}
    // The peer's end of stream, or a receive error, has arrived; bytes from before may still wait to be read.
    virtual void onPeerClosed() {}

   protected:
    ~Owner() = default;
  };

  // `send_blocks` (16 KiB) hold what waits to be sent. They and `sock_room` must outlive the socket. Nobody is told
  // anything as long as there is no owner: while a connection is being made, which protocol will own the socket may not
  // be known yet.
  UltraSock(Io& io, BlockSlab& send_blocks, SockRoom& sock_room, Owner* owner = nullptr);
  UltraSock(const UltraSock&) = delete;
  UltraSock& operator=(const UltraSock&) = delete;
  // Only after close() has returned, or when the socket was never opened.
  ~UltraSock();

  // Connects to the first of `addresses` that answers, all within the deadline. Errors reach the backend.
  Task<Status> connect(const ResolveAnswer& addresses, TimeNs deadline_ns, Io& io);
  // Takes over a connected descriptor.
  void adopt(int fd);
  void setOwner(Owner* owner) { owner_ = owner; }
  // Performs the TLS handshake; `server_name` is for SNI and verification in the client role, where `offer` may narrow
  // what ALPN offers. Bytes that the last recv() delivered are taken as the handshake's beginning, so that a listener
  // can look at the first byte. Errors: tls_failed, connect_timeout, connection_lost.
  Task<Status> startTls(TlsContext& context, std::string_view server_name, TimeNs deadline_ns, Io& io,
                        AlpnOffer offer = AlpnOffer::all);
  bool isTls() const { return tls_ != nullptr; }
  // What ALPN chose: "h2", "http/1.1" or "".
  std::string_view alpn() const { return isTls() ? tls_->session.alpn() : std::string_view(); }

  class RecvAwaiter {
   public:
    explicit RecvAwaiter(UltraSock& sock) : sock_(sock) {}
    bool await_ready() { return sock_.tryRecv(result_); }
    void await_suspend(std::coroutine_handle<> handle) {
      PLAIT_ASSERT(sock_.receiver_ == nullptr && sock_.waits_for_ != WaitsFor::received);
      handle_ = handle;
      sock_.receiver_ = this;
      sock_.armRecv();
    }
    Result<Bytes> await_resume() { return *result_; }

   private:
    friend class UltraSock;
    UltraSock& sock_;
    std::coroutine_handle<> handle_;
    std::optional<Result<Bytes>> result_;
  };
  // The next bytes, valid until the next call; empty at the peer's end of stream. One reader at a time.
  RecvAwaiter recv() { return RecvAwaiter(*this); }
  // The bytes of the last recv() are done with: whoever is going to wait for something else gives their buffer back
  // now.
  void doneReading();
  // From now on recv() finds the end of the stream. What waits in it does so at once; output is not concerned.
  void stopReading();

  ByteQueue& output() { return output_; }
  // So many free send blocks are left to sockets that matter more than this one.
  void leaveToOthers(size_t blocks) { output_.leaveToOthers(blocks); }
  // Sends what is in output() at the end of this turn.
  void flushLater() { io_.flushLater(*this); }
  // Bytes given to the socket that the kernel has not taken yet.
  size_t unsent() const { return output_.size() + (isTls() ? tls_->cipher.size() : 0); }
  void setLowWater(uint32_t bytes) { low_water_ = bytes; }
  // Positions in the stream of plaintext: where the next byte appended to output() will be, and below which one any may
  // have left this machine. A message that starts at or above offered() was provably never sent.
  uint64_t position() const { return consumed_ + output_.size(); }
  uint64_t offered() const { return consumed_ + static_cast<uint64_t>(int64_t{offered_ahead_}); }
  // Takes back what is at or above offered(), so that what counts as never sent never will be.
  void dropUnoffered() { output_.truncate(static_cast<size_t>(std::max(offered_ahead_, 0))); }
  // Half-closes (with TLS after close_notify) once all output has left; nothing may be appended any more.
  void endOutput();
  // close() will reset the connection, so that nobody takes its end for the end of what was sent.
  void resetOnClose() { resets_on_close_ = true; }

  // close() will say close_notify, aborted or not, if all output has left and the alert can leave at once
  // (RFC 9112 §9.8).
  void notifyOnClose() { notifies_on_close_ = true; }

  // Ends everything that waits on this socket with `error`; the descriptor stays until close(). The first error wins.
  void abort(const Error& error);
  bool isAborted() const { return error_.code != ErrorCode::none; }
  // The peer has not ended its side but reset the connection, or it broke.
  bool isReset() const { return receive_end_ < 0; }

  // Waits until all output has left or the socket failed, which it does at the deadline.
  Task<void> drain(TimeNs deadline_ns, Io& io);
  // Drains until `drained_by_ns`, says close_notify and FIN, waits for the peer's FIN (so that a reset does not
  // overtake our last words) for `linger_ms` at most, and closes. What arrives meanwhile is dropped; behind
  // `unread_limit` bytes it is not even read, so that a flood costs no more.
  Task<void> closeGracefully(TimeNs drained_by_ns, int64_t linger_ms, Io& io, uint32_t unread_limit = UINT32_MAX);
  // Cancels what is under way, waits for the kernel to let go of it, and closes. Whoever waits on the socket ends with
  // an error first.
  Task<void> close(Io& io);

  bool isOpen() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  // The peer's address, asked from the kernel.
  bool peerAddress(sockaddr_storage& address);
  uint64_t bytesSent() const { return bytes_sent_; }
  // What of that the peer's machine has acknowledged, asked from the kernel, which may hold megabytes for a slow one
  // and takes more only when a good part of them is gone.
  uint64_t bytesTaken();

 private:
  static constexpr uint32_t max_pending_buffers = 4;
  static constexpr size_t max_cipher_bytes = 64 * 1024;
  static constexpr int most_bulk_score = 8;

  bool tryRecv(std::optional<Result<Bytes>>& result);
  bool tryRecvTls(std::optional<Result<Bytes>>& result);
  bool tryEnd(std::optional<Result<Bytes>>& result);
  void releaseCurrent();
  bool nextBuffer();
  Bytes currentBytes() const;
  bool spill(uint32_t buffer_id, size_t size);
  bool appendSpilled(Bytes bytes);
  uint32_t lendSpilled();
  uint32_t pendingLimit() const;
  bool isFull() const;
  void armRecv();
  void onRecv(const Completion& completion);
  void onSent(const Completion& completion);
  void flush() override;
  bool onBuffer() override;
  size_t send(const ByteQueue& wire);
  void endSend();
  bool isBeingRead() const { return receiver_ != nullptr || waits_for_ == WaitsFor::received; }
  // Nothing of this socket's is with the kernel.
  bool isLetGo() const { return !recv_op_.armed && sending_ == nullptr; }
  bool encrypt();
  void noteFilled(bool is_filled);
  void endBulk();
  void wakeReader();
  void endTls();
  // While it lives, in the frame of whoever waits: aborts the socket when its time is over.
  struct Deadline {
    UltraSock& sock;
    Timer timer;
    bool has_passed = false;
    explicit Deadline(UltraSock& limited);
    void arm(TimeNs due_ns) { sock.io_.arm(timer, due_ns); }
  };
  // What the one who waits here, but for those in recv(), waits for: any change on the receiving side; that no output
  // is left, or none can leave any more; or, in close(), that the kernel lets go.
  enum class WaitsFor : uint8_t { nothing, received, drained, let_go };
  struct Wait {
    UltraSock& sock;
    WaitsFor what;
    Wait(UltraSock& waited, WaitsFor wanted) : sock(waited), what(wanted) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      PLAIT_ASSERT(sock.waits_for_ == WaitsFor::nothing);
      sock.waits_for_ = what;
      sock.waiter_ = handle;
      if (what == WaitsFor::received) sock.armRecv();
    }
    void await_resume() const {}
  };
  void wakeWaiter(WaitsFor what) {
    if (waits_for_ != what) return;
    waits_for_ = WaitsFor::nothing;
    io_.ready(waiter_);
  }

  enum class OutputEnd : uint8_t { open, wanted, notified, shut };

  Io& io_;
  Owner* owner_;
  SockRoom& sock_room_;
  TlsPart* tls_ = nullptr;
  ByteQueue output_;
  // What arrived while nobody read and receive buffers were short: who does not read must not keep them from others.
  // Comes after the pending ones. Null while there is nothing.
  ByteQueue* spilled_ = nullptr;

  Op recv_op_;
  Sending* sending_ = nullptr;  // lent while a send is under way

  RecvAwaiter* receiver_ = nullptr;  // waits in recv()
  std::coroutine_handle<> waiter_;   // waits for what waits_for_ says
  Error error_;                      // none as long as there is none

  uint64_t consumed_ = 0;  // bytes that have left output()
  uint64_t bytes_sent_ = 0;
  uint64_t taken_ = 0;  // of those, as far as was asked

  int fd_ = -1;
  // Numbers of buffers, which are below 32,768; -1 for none.
  int16_t current_ = -1;        // whose bytes the reader has
  int16_t first_pending_ = -1;  // those that arrived and were not read yet
  int16_t last_pending_ = -1;
  uint16_t pending_count_ = 0;
  int16_t receive_end_ = 1;  // 1 while receiving, then the result that ended it: 0 or -errno
  WaitsFor waits_for_ = WaitsFor::nothing;
  uint32_t spilled_lent_ = 0;  // the reader has so much of spilled_, instead of a buffer
  uint32_t low_water_ = 64 * 1024;
  uint32_t discards_left_ = UINT32_MAX;
  int32_t offered_ahead_ = 0;  // offered() less consumed_: below zero where output was given up
  bool discards_ = false;      // what still arrives is for nobody
  bool reading_stopped_ = false;
  // Much may wait in the kernel, and all of it would come at once: what was not read in time, or before the first read.
  // Then one buffer is asked for at a time, until one is not filled.
  bool careful_ = true;
  bool is_bulk_ = false;
  uint8_t bulk_score_ = 0;
  OutputEnd output_end_ = OutputEnd::open;
  bool resets_on_close_ = false;
  bool notifies_on_close_ = false;
};

}  // namespace plait
