// One operation of the outside world, owned by the code that asks for it (no allocation, no hidden lifetime): an Op
// must stay where it is from submit until its completion with `more == false` has been delivered.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <string_view>

#include "plait/base/time.h"

namespace plait {

struct Op;
class Mailbox;
struct ResolveAnswer;

// The backend's report about an Op. Completions are queued while reaping and delivered afterwards, in order.
struct Completion {
  Op* op = nullptr;
  int32_t result = 0;  // as the system call: >= 0, or -errno
  int32_t buffer_id =
      -1;             // recv: the lent buffer that holds `result` bytes, see BufferPool; the receiver gives it back
  bool more = false;  // a stream op that stays armed
};

enum class OpKind : uint8_t {
  // Complete later, through poll().
  accept,   // stream: each completion's result is a new non-blocking descriptor
  connect,  // makes a socket for `address`, connects it; result is the descriptor
  recv,     // stream: each completion lends a buffer; result 0 is the end of the stream. Where buffers run out it ends
            // early, with bytes or with -ENOBUFS, and goes on when it is submitted again
  send,     // sends `vectors`; result is how much was taken, possibly less than all
  resolve,  // does `lookup`: its answer is filled, result 0 or -errno
  errand,   // starts `errand`, which another thread completes; the result is the errand's
  message,  // completes when another thread posts it (Mailbox::post); result 0
  // Synchronous: `result` is set when submit() returns, and there is no completion.
  listen,  // result is a listening descriptor bound to `address`, which becomes the bound one. Another socket may
           // have that address if its owner is this user and both are shared: a later one has to ask for it
  accept_waiting,  // takes one connection that is waiting to be accepted; result is its descriptor or -EAGAIN
  peer,            // `address` becomes the peer's
  untaken,         // result is how many sent bytes the peer has not acknowledged yet
  shutdown,        // half-closes the sending side
  close,
};

// The name that a resolve op looks up; the op's owner keeps it until the op has completed.
struct Lookup {
  std::string_view host;
  uint16_t port = 0;
  ResolveAnswer* answer = nullptr;
};

// Something that another thread does for this one, such as reading a file. It cannot be cancelled: its answer is
// awaited and thrown away. Like the op it must stay until the op has completed.
class Errand {
 public:
  // On the thread that asks; neither blocks nor allocates. `op` completes by `mailbox.post`, once.
  virtual void start(Op& op, Mailbox& mailbox) = 0;

 protected:
  ~Errand() = default;
};

struct Op {
  OpKind kind = OpKind::message;
  // From submit until the last completion has been delivered: set by the backend, cleared by Io. Not at the time when
  // the kernel is done with it, for what follows from that has not happened yet.
  bool armed = false;
  bool cancelled = false;         // cancel() was asked for; kept by the backend
  bool single : 1 = false;        // accept, recv: completes once, recv with one buffer at most
  bool bulk : 1 = false;          // recv: much is expected; may end when it has lent some buffers, each by a completion
  bool from_reserve : 1 = false;  // recv: may take what BufferPool keeps
  bool share_port : 1 = false;    // listen: beside sockets that have the address already
  bool only_v6 : 1 = false;       // listen: [::] does not take IPv4
  bool reaped = false;            // the last completion is on its way to the owner; kept by Io
  bool reset_on_close = false;    // close: sends RST instead of FIN
  uint8_t vector_count = 0;
  int fd = -1;
  int32_t result = 0;

  // Each kind needs one of them at most.
  union {
    const iovec* vectors = nullptr;  // send
    sockaddr_storage* address;       // connect, listen, peer
    Lookup* lookup;                  // resolve
    Errand* errand;                  // errand
  };

  void (*on_complete)(void* owner, const Completion& completion) = nullptr;
  void* owner = nullptr;

  Op* next = nullptr;  // storage for the backend and the mailbox

  bool isSynchronous() const { return kind >= OpKind::listen; }
};

// Addresses in the order in which they should be tried (RFC 6724 as the resolver sorted them).
struct ResolveAnswer {
  static constexpr uint32_t max_addresses = 16;
  sockaddr_storage addresses[max_addresses];
  uint32_t count = 0;
  uint32_t ttl_s = 0;
};

}  // namespace plait
