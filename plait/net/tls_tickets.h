// The keys that seal a server's session tickets (RFC 5077 §4, RFC 8446 §4.6.1). A ticket holds what its session needs
// to be resumed, so anybody who has its key can read it: keys are kept in memory alone, and each for a few hours.
//
//   newest: seals and opens │ the ones before: open alone │ older: gone, a full handshake
//
// A client whose ticket an older key opened gets a new one; with TLS 1.3 each client does. The new one does not live
// longer than the first of its chain, whose connection had a full handshake.
//
// All workers use the same keys, so a client may come back to any of them.
#pragma once

#include <array>
#include <atomic>
#include <mutex>

#include "plait/base/time.h"

struct evp_cipher_ctx_st;
struct evp_cipher_st;
struct evp_mac_ctx_st;

namespace plait {

class TicketKeys {
 public:
  static constexpr TimeNs period_ns = 3600 * ns_per_s;  // how long a key seals
  static constexpr size_t key_count = 3;
  // How long a ticket can be used at least, and what its client is told.
  static constexpr TimeNs lifetime_ns = period_ns * (key_count - 1);

  TicketKeys() = default;
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;
  ~TicketKeys();

  // Makes the first key; false when there is no randomness or no cipher.
  bool start();
  // Changes keys where it is time to: for each period that has passed one of them goes. From any thread.
  void rotate(TimeNs now_ns);
  // The latest that rotate() was told.
  TimeNs nowNs() const { return now_ns_.load(std::memory_order_relaxed); }

  // As SSL_CTX_set_tlsext_ticket_key_evp_cb wants it: seals or opens with the key of that name.
  int use(unsigned char* name, unsigned char* iv, evp_cipher_ctx_st* cipher, evp_mac_ctx_st* mac, bool seals);

 private:
  struct Key {
    std::array<unsigned char, 16> name;
    std::array<unsigned char, 32> cipher;
    std::array<unsigned char, 32> mac;
    bool is_known = false;
  };
  static bool make(Key& key);

  evp_cipher_st* cipher_ = nullptr;
  std::atomic<TimeNs> rotate_ns_{0};  // 0 before the time is known
  std::atomic<TimeNs> now_ns_{0};
  std::mutex mutex_;                 // met once a handshake
  std::array<Key, key_count> keys_;  // the newest first
};

}  // namespace plait
