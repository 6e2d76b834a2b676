// RoomWait: a coroutine of a client's connection that waits for something of which the server has too little. Who has
// it to give keeps the line; a connection that is aborted leaves it (ServerConnection::wakeForRoom).
#pragma once

#include <coroutine>

#include "plait/base/list.h"
#include "plait/base/time.h"

namespace plait {

class ServerConnection;

class RoomWait {
 public:
  explicit RoomWait(ServerConnection& connection) : connection_(connection) {}

  ServerConnection& connection() const { return connection_; }
  TimeNs sinceNs() const { return since_ns_; }
  std::coroutine_handle<> handle() const { return handle_; }

  ListNode node;  // in a line

 protected:
  ~RoomWait() = default;
  // The coroutine is suspended from now on. One at a time waits for a connection.
  void suspend(std::coroutine_handle<> handle);

  ServerConnection& connection_;

 private:
  std::coroutine_handle<> handle_;
  TimeNs since_ns_ = 0;
};

}  // namespace plait
