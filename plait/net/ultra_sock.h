// UltraSock: one socket, plain TCP or TLS, one interface: a SockInput, a SockOutput, a TlsPump between them where there
// is TLS, and how a socket ends.
//
//   inbound   kernel → lent ring buffer → (TLS: plaintext block) → recv()
//   outbound  output() → (TLS: cipher queue) → one gathered send a turn → kernel
//
// Everything that a turn appends to output() leaves in one send at the end of the turn (flushLater), as long as it lies
// in no more than Io::max_vectors pieces. Any failure, from either side or from abort(), is remembered once and
// reported by every later call.
#pragma once

#include <optional>

#include "plait/base/progress.h"
#include "plait/io/op_awaiter.h"
#include "plait/io/task.h"
#include "plait/net/sock_input.h"
#include "plait/net/sock_output.h"
#include "plait/net/sock_room.h"

namespace plait {

class UltraSock;

// The meaning of `result`, a negative errno of connect(): the host's refusal, or a lack of descriptors, memory or local
// ports on this machine (Error::isOwnShortage). Reaches the backend.
Error connectFailure(int32_t result);

// OutputWatch: whether the peer takes the output that is sent to it. It is asked every now and then, and time counts
// only between two looks that both saw output wait.
class OutputWatch {
 public:
  // False where nothing was taken for `stall_ns`, or less than `bytes_per_second` over such a span (0 asks for
  // nothing).
  bool isMoving(UltraSock& sock, TimeNs now_ns, int64_t stall_ns, uint32_t bytes_per_second);

 private:
  uint64_t taken_ = 0;   // at the last look,
  TimeNs moved_ns_ = 0;  // and when that had changed; 0 while nothing waits
  Progress progress_;
};

// How a connection ends in good order.
struct Farewell {
  // A slow peer may take its time for what has been said, as long as it takes something within this, and
  // `bytes_per_second` over each such span.
  int64_t stall_ms;
  uint32_t bytes_per_second = 0;
  // The peer gets so long for its FIN, so that a reset does not overtake the last output.
  int64_t linger_ms;
  // Bytes that arrive meanwhile are dropped. After so many of them no more are read, so that a flood costs no more.
  uint32_t unread_limit = UINT32_MAX;
};

class UltraSock final : Io::Flusher, BufferPool::Waiter {
 public:
  // Told about output by the socket, from the event loop, never from inside a call to the socket.
  class Owner {
   public:
    // Some output has left, and unsent() is below the low-water mark: there is room for more.
    virtual void onOutputDrained() = 0;
    // The peer's end of stream, or a receive error, has arrived; bytes from before may still wait to be read.
    virtual void onPeerClosed() {}

   protected:
    ~Owner() = default;
  };

  // `send_blocks` (16 KiB) hold what waits to be sent. They and `sock_room` must outlive the socket. Without an owner
  // nobody is told anything: while a connection is being made, the protocol that will own the socket may not be known
  // yet.
  UltraSock(Io& io, BlockSlab& send_blocks, SockRoom& sock_room, Owner* owner = nullptr);
  UltraSock(const UltraSock&) = delete;
  UltraSock& operator=(const UltraSock&) = delete;
  // Only after close() has returned, or when the socket was never opened.
  ~UltraSock();

  // Connects to the first of `addresses` that answers, all within the deadline. Errors reach the backend. From then on
  // the socket may use the receive buffers that are kept for connections to backends (BufferPool).
  Task<Status> connect(const ResolveAnswer& addresses, TimeNs deadline_ns, Io& io);
  // Takes over a connected descriptor.
  void adopt(int fd);
  void setOwner(Owner* owner) { owner_ = owner; }
  // Performs the TLS handshake; `server_name` is for SNI and verification in the client role, where `offer` may narrow
  // what ALPN offers. Bytes that the last recv() delivered are taken as the handshake's beginning, so that a listener
  // can look at the first byte. Errors: tls_failed, connect_timeout, connection_lost. Where a client begins with text,
  // the socket stays plain (isTls() tells), so that it can be answered in text.
  Task<Status> startTls(TlsContext& context, std::string_view server_name, TimeNs deadline_ns, Io& io,
                        AlpnOffer offer = AlpnOffer::all);
  bool isTls() const { return tls_ != nullptr; }
  // The protocol that ALPN chose: "h2", "http/1.1" or "".
  std::string_view alpn() const { return isTls() ? tls_->session().alpn() : std::string_view(); }
  // From startTls() to close(); null where the socket is plain.
  const TlsSession* tls() const { return isTls() ? &tls_->session() : nullptr; }

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
  // The bytes of the last recv() lie in a receive buffer.
  bool holdsBuffer() const { return input_.holdsBuffer(); }
  // Bytes have arrived that recv() has not returned yet; with TLS, of ciphertext.
  bool hasUnread() const { return input_.hasPending(); }
  // The bytes of the last recv() are done with. A reader that is going to wait for something else gives their buffer
  // back by this.
  void doneReading();
  // Before TLS: of the bytes of the last recv() all but the last `count` are done with. These are valid until the next
  // recv(), and startTls() begins with them. While buffers are short they lie elsewhere than in one.
  Bytes keepLast(size_t count);
  // A reader that needs no bytes at present lets its owner hear of the peer's end (onPeerClosed). While buffers are
  // short it does not, and has to ask again.
  void watchEnd() {
    input_.trustPeer();
    armRecv();
  }
  // Since the last call, or right now, there was no buffer to receive into: bytes that the peer has sent may not have
  // been read.
  bool tookNoBuffer() { return std::exchange(found_no_buffer_, buffer_node.isLinked()); }
  // From now on recv() finds the end of the stream, and one that waits finds it at once. Output is not concerned.
  void stopReading();

  ByteQueue& output() { return output_.queue(); }
  // This socket leaves so many free send blocks to sockets that matter more.
  void leaveToOthers(size_t blocks) { output_.queue().leaveToOthers(blocks); }
  // Sends what is in output() at the end of this turn.
  void flushLater() { io_.flushLater(*this); }
  // Bytes given to the socket that the kernel has not taken yet.
  size_t unsent() const { return output_.queue().size() + (isTls() ? tls_->cipher().size() : 0); }
  void setLowWater(uint32_t bytes) { low_water_ = bytes; }
  // Positions in the stream of plaintext: where the next byte appended to output() will be, and below which one any may
  // have left this machine. A message that starts at or above offered() was provably never sent.
  uint64_t position() const { return output_.position(); }
  uint64_t offered() const { return output_.offered(); }
  // Takes back the output at or above offered(): it counts as never sent, and now never will be.
  void dropUnoffered() { output_.dropUnoffered(); }
  // The same from `position` on, which is at or above offered(). After a send that failed it may have been given
  // up already.
  void takeBack(uint64_t position) { output_.takeBack(position); }
  // Half-closes (with TLS after close_notify) once all output has left; nothing may be appended any more.
  void endOutput();
  // close() will reset the connection, so that nobody takes its end for the end of what was sent.
  void resetOnClose() { closing_ = Closing::reset; }
  // close() will send close_notify, aborted or not, if all output has left and the alert can leave at once (RFC 9112
  // §9.8).
  void notifyOnClose() {
    if (closing_ == Closing::quiet) closing_ = Closing::notify;
  }

  // Ends everything that waits on this socket with `error`; the descriptor stays until close(). The first error wins.
  void abort(const Error& error);
  bool isAborted() const { return error_.code != ErrorCode::none; }
  const Error& error() const { return error_; }
  // The connection was reset, or broke, in place of an end of the peer's stream.
  bool isReset() const { return input_.end() < 0; }

  // Waits until all output has left or the socket failed, which it does at the deadline.
  Task<void> drain(TimeNs deadline_ns, Io& io);
  // Drains, sends close_notify and FIN, waits for the peer's FIN, and closes. It gives up on a peer that does not take
  // its output: error() is `stalled` then.
  Task<void> closeGracefully(Farewell farewell, Io& io);
  // Cancels the operations that are under way, waits for the kernel to let go of them, and closes. A coroutine that
  // waits on the socket ends with an error first. An alert of TLS that the peer has not been given time to read is said
  // before, which takes alert_linger_ms at most.
  Task<void> close(Io& io, LastFrame = {});

  bool isOpen() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  uint64_t bytesSent() const { return output_.bytesSent(); }
  // Bytes of those that the peer's machine has acknowledged, asked from the kernel. The kernel may hold megabytes for a
  // slow peer, and takes more only when a good part of them is gone.
  uint64_t bytesTaken() { return output_.bytesTaken(fd_, io_); }

 private:
  bool tryRecv(std::optional<Result<Bytes>>& result);
  bool tryRecvTls(std::optional<Result<Bytes>>& result);
  bool tryEnd(std::optional<Result<Bytes>>& result);
  void releaseCurrent() {
    if (input_.release(sock_room_, io_)) armRecv();
  }
  bool nextBuffer() {
    if (!input_.next(io_)) return false;
    if (!input_.isArmed()) [[unlikely]]
      armRecv();
    return true;
  }
  bool isBeingRead() const { return receiver_ != nullptr || waits_for_ == WaitsFor::received; }
  SockInput::Demand demand() const {
    if (isBeingRead()) return SockInput::Demand::bytes;
    return output_.failure() != 0 ? SockInput::Demand::end : SockInput::Demand::nothing;
  }
  void armRecv() {
    if (input_.isDiscarding()) {
      if (output_end_ != OutputEnd::shut || input_.isFlooded()) return;
    } else if (isAborted()) {
      return;
    }
    if (fd_ < 0 || buffer_node.isLinked()) return;
    input_.arm(output_.queue(), demand(), io_);
  }
  void onRecv(const Completion& completion);
  void onSent(const Completion& completion);
  void flush() override;
  bool onBuffer() override;
  size_t send(const ByteQueue& wire);
  void onSendFailed(int32_t result);
  void dropOutput();
  // The kernel holds no operation of this socket.
  bool isLetGo() const { return !input_.isArmed() && !output_.isSending(); }
  void lookAgain();
  void wakeReader();
  void endTls() {
    if (isTls()) sock_room_.tls_pumps.destroy(std::exchange(tls_, nullptr));
  }
  Task<void> sayAlert(Io& io);
  Task<Status> waitForKey(Io& io);
  // Lives in the frame of the coroutine that waits, and aborts the socket when its time is over.
  struct Deadline {
    UltraSock& sock;
    Timer timer;
    bool has_passed = false;
    explicit Deadline(UltraSock& limited);
    void arm(TimeNs due_ns) { sock.io_.arm(timer, due_ns); }
  };
  // The same, when the peer does not take the last output.
  struct FarewellWatch {
    UltraSock& sock;
    const Farewell& farewell;
    OutputWatch output;
    Timer timer;
    FarewellWatch(UltraSock& watched, const Farewell& said);
    void look();
  };
  // The event for which a coroutine waits, those in recv() aside: any change on the receiving side; that no output is
  // left, or none can leave any more; or, in close(), that the kernel lets go.
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
  // The way in which close() ends the connection for the peer.
  enum class Closing : uint8_t { quiet, notify, alert, reset };
  // The peer of a failed handshake has so long, and may send so much, until it has heard why.
  static constexpr TimeNs alert_linger_ns = ns_per_s;
  static constexpr uint32_t alert_unread_limit = 256 * 1024;

  Io& io_;
  Owner* owner_;
  SockRoom& sock_room_;
  TlsPump* tls_ = nullptr;
  SockOutput output_;
  SockInput input_;

  RecvAwaiter* receiver_ = nullptr;  // waits in recv()
  std::coroutine_handle<> waiter_;   // waits for what waits_for_ says
  Error error_;                      // code none while there is no error

  int fd_ = -1;
  uint32_t low_water_ = 64 * 1024;
  WaitsFor waits_for_ = WaitsFor::nothing;
  OutputEnd output_end_ = OutputEnd::open;
  Closing closing_ = Closing::quiet;
  bool found_no_buffer_ = false;
};

}  // namespace plait
