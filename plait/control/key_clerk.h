// KeyClerk: loads the private keys of sites when their first clients come, of all generations. Workers never read
// files.
#pragma once

#include <atomic>
#include <mutex>
#include <semaphore>
#include <thread>
#include <vector>

#include "plait/base/log.h"
#include "plait/net/certificate_store.h"

namespace plait {

// One thread, which waits until it is asked. Lives from before the first worker until after the last one.
class KeyClerk final : public net::KeyLoader {
 public:
  // A key that cannot be loaded is said to `log`, from the clerk's thread. The log must outlive the clerk.
  explicit KeyClerk(LogSink& log);
  ~KeyClerk();
  KeyClerk(const KeyClerk&) = delete;
  KeyClerk& operator=(const KeyClerk&) = delete;

  // From now on for this store too, which must outlive the clerk, or forget().
  void serve(net::CertificateStore& store);
  // The store has no users any more. Waits until a key that is being loaded is there.
  void forget(net::CertificateStore& store);
  void request(net::CertificateStore& store) override;

 private:
  void run();

  LogSink& log_;
  std::mutex mutex_;
  std::vector<net::CertificateStore*> stores_;  // under the mutex
  LogRate said_;
  std::atomic<bool> is_ending_{false};
  // One wake-up is enough for all that was asked for before it.
  std::atomic<bool> is_asked_{false};
  std::binary_semaphore asked_{0};
  std::thread thread_;
};

}  // namespace plait
