// UploadRoom: the memory for request bodies that backends have not taken yet. It says whose connection is read further,
// holds those that are not in two lines, and ends uploads that are stuck while memory is short.
#pragma once

#include "plait/base/list.h"
#include "plait/base/slab.h"
#include "plait/io/io.h"
#include "plait/server/room_wait.h"

namespace plait {

class Server;

// The answer to an upload that is ended for want of memory, and the error that is logged (UploadRoom::look).
inline constexpr std::string_view stuck_upload_text =
    "the backend takes nothing of this request, and memory is short\n";
inline Error stuckUploadError() {
  return streamError(ErrorCode::stalled, "the backend takes nothing of an upload, and memory for uploads is short")
      .as(Fault::stuck_upload);
}

// A connection that waits for memory for its request bodies (ServerConnection::uploadRoom).
class UploadWait final : public RoomWait {
 public:
  explicit UploadWait(ServerConnection& connection) : RoomWait(connection) {}
  bool await_ready() const;
  void await_suspend(std::coroutine_handle<> handle);
  void await_resume();

 private:
  friend class UploadRoom;
  bool holds_little_ = false;
};

class UploadRoom {
 public:
  UploadRoom(Server& server, Io& io, uint32_t block_size, uint32_t block_count);

  BlockSlab blocks;
  // Half of them are free: what waits in them is in nobody's way.
  bool isAmple() const { return blocks.available() * 2 >= blocks.capacity(); }
  // Whether a connection that holds so many bytes of uploads is read further. The last blocks are for those that hold
  // little; what one receive buffer of DATA may need is left in any case.
  bool takes(size_t held) const {
    const size_t available = blocks.available();
    if (available < reserve) return false;
    return held < little_upload || available >= blocks.capacity() / 8;
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
  static constexpr size_t little_upload = 16 << 10;
  static constexpr size_t reserve = 6;
  static constexpr int64_t watch_ms = 250;
  static constexpr uint32_t most_ended = 8;  // with each look

  void look();
  // The largest holder of stuck uploads, by address and within it by connection, loses the one that is stuck for the
  // longest.
  bool endStuckUpload();

  Server& server_;
  Io& io_;
  using Line = List<RoomWait, &RoomWait::node>;  // of UploadWait
  Line little_;                                  // of connections that hold little
  Line large_;
  Timer timer_;
};

}  // namespace plait
