// Bytes that were read from a socket and not used yet, as one contiguous run. As long as a message lies within one
// receive buffer it is read in place; only what spans buffers is moved into a block, the smallest that holds it, which
// goes back as soon as the bytes are used. So an idle connection holds nothing, and a sender of small pieces little.
#pragma once

#include <span>

#include "plait/net/ultra_sock.h"

namespace plait {

class BufferedInput {
 public:
  // `blocks` are of rising sizes; the largest bounds what may be unread. Both must outlive this object.
  BufferedInput(UltraSock& sock, std::span<BlockSlab> blocks) : sock_(sock), blocks_(blocks) {}
  // Takes over what the other has, blocks and bytes.
  BufferedInput(BufferedInput&& other) noexcept
      : sock_(other.sock_),
        blocks_(other.blocks_),
        bytes_(std::exchange(other.bytes_, {})),
        block_(std::exchange(other.block_, nullptr)),
        block_class_(other.block_class_) {}
  BufferedInput& operator=(BufferedInput&&) = delete;
  ~BufferedInput() { giveBlock(); }

  // Takes over bytes that the socket's last recv() delivered, in place of what there was.
  void start(Bytes first) {
    giveBlock();
    bytes_ = first;
  }
  // The unread bytes. The user takes them off the front; they stay valid until the next more().
  Bytes& bytes() { return bytes_; }
  bool empty() const { return bytes_.empty(); }

  // Before waiting for something else than the socket: what is unread moves into a block, the smallest that holds it
  // but one of the socket's send blocks before the largest, so that the worker gets its receive buffer back. Only where
  // there is no block of any kind does it stay.
  void park();

  class MoreAwaiter {
   public:
    explicit MoreAwaiter(BufferedInput& input) : input_(input), recv_(input.sock_.recv()) {}
    bool await_ready() {
      kept_ = input_.keepUnread();
      return !kept_ || recv_.await_ready();
    }
    void await_suspend(std::coroutine_handle<> handle) { recv_.await_suspend(handle); }
    Result<bool> await_resume() {
      if (!kept_) return fail(kept_.error());
      return input_.onReceived(recv_.await_resume());
    }

   private:
    BufferedInput& input_;
    UltraSock::RecvAwaiter recv_;
    Status kept_;
  };
  // Waits for more bytes, which then follow the unread ones; false at the end of the stream. Errors: those of
  // UltraSock::recv; message_too_large when the unread bytes exceed the largest block; no_memory.
  MoreAwaiter more() { return MoreAwaiter(*this); }

 private:
  bool moveTo(size_t block_class);
  BlockSlab& slabOf(size_t block_class);
  Status keepUnread();
  Result<bool> onReceived(const Result<Bytes>& received);
  bool reserve(size_t size);
  void giveBlock();

  UltraSock& sock_;
  std::span<BlockSlab> blocks_;
  Bytes bytes_;
  uint8_t* block_ = nullptr;
  size_t block_class_ = 0;  // behind blocks_: one of the socket's
};

}  // namespace plait
