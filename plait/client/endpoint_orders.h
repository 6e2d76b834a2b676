// EndpointOrders: a pool's endpoints are added and removed by other threads than its loop's. An order lies on the stack
// of the thread that gives it and waits there; the loop is woken through its mailbox and carries it out between two
// completions. The request path meets neither the lock nor malloc.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "plait/base/error.h"
#include "plait/client/endpoint_id.h"
#include "plait/client/pool_options.h"
#include "plait/io/io.h"
#include "plait/io/mailbox.h"

namespace plait {

class ConnectionPool;

class EndpointOrders {
 public:
  // On the loop's thread. References must outlive the orders, and these every call of another thread.
  EndpointOrders(ConnectionPool& pool, Io& io, Mailbox& mailbox);
  EndpointOrders(const EndpointOrders&) = delete;
  EndpointOrders& operator=(const EndpointOrders&) = delete;

  // From any thread: see ConnectionPool::addFromAnyThread and removeFromAnyThread.
  Result<EndpointId> add(std::shared_ptr<const BackendOptions> options);
  Status remove(EndpointId id);

  // On the loop's thread: those that wait, and all that come, fail with shutting_down.
  void close();
  // On the loop's thread, after close(): a message is under way to the loop. The orders must not go before it has come.
  bool isAwaited() const { return is_posted_; }

 private:
  struct Order {
    std::shared_ptr<const BackendOptions> added;  // null: `id` is removed
    EndpointId id;
    Result<EndpointId> result = fail({});
    bool is_done = false;
    Order* next = nullptr;
  };
  void give(Order& order);
  Result<EndpointId> carryOut(const Order& order);
  void onPosted();

  ConnectionPool& pool_;
  Io& io_;
  Mailbox& mailbox_;
  const std::thread::id loop_thread_ = std::this_thread::get_id();
  Op op_;
  std::mutex mutex_;
  std::condition_variable done_;
  Order* first_ = nullptr;
  Order* last_ = nullptr;
  bool is_posted_ = false;  // set by any thread, and cleared by the loop's
  bool is_closed_ = false;
};

}  // namespace plait
