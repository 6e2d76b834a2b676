#include "plait/control/key_clerk.h"

#include <algorithm>
#include <chrono>
#include <ranges>

namespace plait {

KeyClerk::KeyClerk(LogSink& log) : log_(log), thread_([this] { run(); }) {}

KeyClerk::~KeyClerk() {
  is_ending_ = true;
  if (!is_asked_.exchange(true)) asked_.release();
  thread_.join();
  for (net::CertificateStore* store : stores_) store->setLoader(nullptr);
}

void KeyClerk::serve(net::CertificateStore& store) {
  const std::lock_guard lock(mutex_);
  if (std::ranges::find(stores_, &store) != stores_.end()) return;
  stores_.push_back(&store);
  store.setLoader(this);
}

void KeyClerk::forget(net::CertificateStore& store) {
  const std::lock_guard lock(mutex_);
  if (std::erase(stores_, &store) != 0) store.setLoader(nullptr);
}

void KeyClerk::request(net::CertificateStore&) {
  if (!is_asked_.exchange(true)) asked_.release();
}

void KeyClerk::run() {
  while (true) {
    asked_.acquire();
    is_asked_ = false;
    if (is_ending_) return;
    const std::lock_guard lock(mutex_);
    // The present one first.
    for (net::CertificateStore* store : stores_ | std::views::reverse) {
      while (auto outcome = store->loadNext()) {
        if (outcome->wrong.empty()) continue;
        uint32_t unsaid = 0;
        // Any client may ask for a site, as often as it likes.
        if (!said_.admit(std::chrono::steady_clock::now().time_since_epoch().count(), unsaid)) continue;
        log_.say({LogLevel::error, "certificate", outcome->wrong + unsaidText(unsaid)});
      }
    }
  }
}

}  // namespace plait
