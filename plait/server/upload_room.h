// UploadRoom: the memory for request bodies that backends have not taken yet. It says whose connection is read further,
// holds those that are not in two lines, and ends uploads that are stuck while memory is short.
#pragma once

#include <coroutine>

#include "plait/base/list.h"
#include "plait/base/slab.h"
#include "plait/io/io.h"
#include "plait/limits.h"

namespace plait {

class Server;
class ServerConnection;

// The answer to an upload that is ended for want of memory, and the error that is logged (UploadRoom::look).
inline constexpr std::string_view stuck_upload_text =
    "the backend takes nothing of this request, and memory is short\n";
inline Error stuckUploadError() {
  return streamError(ErrorCode::stalled, "the backend takes nothing of an upload, and memory for uploads is short")
      .as(Fault::stuck_upload);
}

// A connection that waits for memory for its request bodies (ServerConnection::uploadRoom).
class UploadWait {
 public:
  explicit UploadWait(ServerConnection& connection) : connection_(connection) {}
  bool await_ready() const;
  void await_suspend(std::coroutine_handle<> handle);
  void await_resume();

  TimeNs sinceNs() const { return since_ns_; }
  std::coroutine_handle<> handle() const { return handle_; }

  ListNode node;

 private:
  friend class UploadRoom;
  ServerConnection& connection_;
  std::coroutine_handle<> handle_;
  TimeNs since_ns_ = 0;
  bool holds_little_ = false;
};

class UploadRoom {
 public:
  UploadRoom(Server& server, Io& io, const Limits& limits);

  BlockSlab blocks;
  // Half of them are free: what waits in them is in nobody's way.
  bool isAmple() const { return blocks.available() * 2 >= blocks.capacity(); }
  // Whether a connection that holds so many bytes of uploads is read further. The last blocks are for those that hold
  // little; what one receive buffer of DATA may need is left in any case.
  bool takes(size_t held) const {
    const size_t available = blocks.available();
    if (available < reserve) return false;
    return held < Limits::little_upload || available >= limits_.blocksForSmallUploads();
  }
  // Memory for uploads is no longer ample: looks every now and then for those that are stuck, until it is.
  void watch() {
    if (!timer_.isArmed()) io_.arm(timer_, io_.nowNs() + watch_ms * ns_per_ms);
  }
  // Some of the blocks may have come back.
  void noteFreed();
  // Puts a connection that waits, and holds `held` bytes, into the line where it belongs.
  void sort(UploadWait& waiting, size_t held);
  // How many that wait hold a receive buffer meanwhile. (Over TLS some may, while buffers are not short.)
  size_t buffersOfWaiting();
  void stop() { timer_.cancel(); }

 private:
  static constexpr size_t reserve = 6;
  static constexpr int64_t watch_ms = 250;
  static constexpr uint32_t most_ended = 8;  // with each look

  void look();
  // The largest holder of stuck uploads, by address and within it by connection, loses the one that is stuck for the
  // longest.
  bool endStuckUpload();

  Server& server_;
  Io& io_;
  const Limits& limits_;
  using Line = List<UploadWait, &UploadWait::node>;
  Line little_;  // of connections that hold little
  Line large_;
  Timer timer_;
};

}  // namespace plait
