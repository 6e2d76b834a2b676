// A worker's half of the access log: what is to be logged is copied into a ring, which the control thread empties.
//
//   worker ──push──▶ [ ring ] ──pop──▶ control thread ──format──▶ [ batch ] ──write──▶ file (control/access_log.h)
//
// One producer and one consumer meet only in two counters, so the request path takes no lock and never waits: a full
// ring drops the line and counts it.
#pragma once

#include <atomic>
#include <optional>
#include <string_view>

#include "plait/base/slab.h"
#include "plait/base/time.h"
#include "plait/client/request.h"
#include "plait/http/message.h"

namespace plait {

// In the place of a route's name, where the listener has redirected the request. No route can have that name.
inline constexpr std::string_view https_redirect_name = "(redirect_https)";

// One request. The views are valid only while it is pushed or formatted.
struct AccessRecord {
  TimeNs started_ns = 0;
  TimeNs ended_ns = 0;
  uint64_t bytes = 0;   // of the response's body, as sent to the client
  EndpointId endpoint;  // the last one that was tried
  uint16_t status = 0;  // 0: none was sent
  http::Version version = http::Version::http_2;
  uint8_t retries = 0;
  RetryClass retry_class = RetryClass::none;
  bool is_complete = false;  // the client has the whole response
  std::optional<uint8_t> grpc_status;
  // Why the answer was plait's own, or not whole; its reason is a static string.
  Error cause;
  int64_t cause_after_ns = 0;  // since the last try began; 0: that says nothing

  std::string_view route;        // the name of its route; empty without routes; or https_redirect_name
  std::string_view client;       // the peer
  std::string_view real_client;  // which trusted proxies have named
  std::string_view request_id;
  std::string_view method;
  std::string_view authority;
  std::string_view path;
  std::string_view referer;
  std::string_view user_agent;
};

class AccessRing {
 public:
  // Longer text is cut off, so that one request cannot fill the ring.
  static constexpr size_t max_text = 4096;

  // `size` bytes, a power of two of at least 64 KiB.
  explicit AccessRing(size_t size);

  // For the worker. False when there is no room: the line is lost, and counted.
  bool push(const AccessRecord& record);
  // For the control thread. The record's views are valid until popped().
  bool front(AccessRecord& record);
  void popped();

  uint64_t lines() const { return lines_.load(std::memory_order_relaxed); }
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  size_t reservedBytes() const { return memory_.size(); }
  void prefault() { memory_.prefault(); }

 private:
  struct Header;

  Reservation memory_;
  size_t size_;
  size_t front_size_ = 0;
  // Positions only grow; modulo the size they are offsets. Each is written by one side, on a cache line of its own.
  alignas(64) std::atomic<uint64_t> pushed_{0};
  std::atomic<uint64_t> lines_{0};
  std::atomic<uint64_t> dropped_{0};
  alignas(64) std::atomic<uint64_t> popped_{0};
};

}  // namespace plait
