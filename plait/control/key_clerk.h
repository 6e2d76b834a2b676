// KeyClerk: loads the private keys of sites when their first clients come. Workers never read files.
#pragma once

#include <atomic>
#include <semaphore>
#include <thread>

#include "plait/base/log.h"
#include "plait/net/certificate_store.h"

namespace plait {

// One thread, which waits until it is asked. Lives from before the first worker until after the last one.
class KeyClerk final : public net::KeyLoader {
 public:
  // A key that cannot be loaded is said to `log`, from the clerk's thread. Both must outlive the clerk.
  KeyClerk(net::CertificateStore& store, LogSink& log);
  ~KeyClerk();
  KeyClerk(const KeyClerk&) = delete;
  KeyClerk& operator=(const KeyClerk&) = delete;

  void request(net::CertificateStore& store) override;

 private:
  void run();

  net::CertificateStore& store_;
  LogSink& log_;
  LogRate said_;
  std::atomic<bool> is_ending_{false};
  // One wake-up is enough for all that was asked for before it.
  std::atomic<bool> is_asked_{false};
  std::binary_semaphore asked_{0};
  std::thread thread_;
};

}  // namespace plait
