#include "plait/client/endpoint_orders.h"

#include <utility>

#include "plait/client/pool.h"

namespace plait {
namespace {

Error closedError() {
  return backendError(ErrorCode::shutting_down, "the pool is closing");
}

}  // namespace

EndpointOrders::EndpointOrders(ConnectionPool& pool, Io& io, Mailbox& mailbox)
    : pool_(pool), io_(io), mailbox_(mailbox) {
  op_.owner = this;
  op_.on_complete = [](void* self, const Completion&) { static_cast<EndpointOrders*>(self)->onPosted(); };
  io_.submit(op_);
}

Result<EndpointId> EndpointOrders::add(std::shared_ptr<const BackendOptions> options) {
  Order order{.added = std::move(options)};
  give(order);
  return order.result;
}

Status EndpointOrders::remove(EndpointId id) {
  Order order{.added = nullptr, .id = id};
  give(order);
  if (!order.result) return fail(order.result.error());
  return {};
}

void EndpointOrders::give(Order& order) {
  if (std::this_thread::get_id() == loop_thread_) {
    order.result = is_closed_ ? fail(closedError()) : carryOut(order);
    return;
  }
  std::unique_lock lock(mutex_);
  if (is_closed_) {
    order.result = fail(closedError());
    return;
  }
  (first_ == nullptr ? first_ : last_->next) = &order;
  last_ = &order;
  if (!is_posted_) {
    is_posted_ = true;
    mailbox_.post(op_, 0);
  }
  done_.wait(lock, [&] { return order.is_done; });
}

// What `order` holds stays its own: the thread that has allocated it lets it go.
Result<EndpointId> EndpointOrders::carryOut(const Order& order) {
  if (order.added != nullptr) return pool_.add(order.added);
  if (!pool_.remove(order.id)) return fail(backendError(ErrorCode::invalid_argument, "the endpoint has gone before"));
  return order.id;
}

void EndpointOrders::onPosted() {
  // Armed again before anybody may post again.
  io_.submit(op_);
  std::unique_lock lock(mutex_);
  is_posted_ = false;
  // One of each thread at most. Those that come meanwhile are the next turn's.
  Order* order = std::exchange(first_, nullptr);
  while (order != nullptr) {
    Order* const next = order->next;
    // Without the lock: a pool tells its observer, who may have orders of his own.
    lock.unlock();
    Result<EndpointId> result = carryOut(*order);
    lock.lock();
    order->result = result;
    order->is_done = true;
    order = next;
  }
  done_.notify_all();
}

void EndpointOrders::close() {
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  for (; first_ != nullptr; first_ = first_->next) {
    first_->result = fail(closedError());
    first_->is_done = true;
  }
  done_.notify_all();
}

}  // namespace plait
