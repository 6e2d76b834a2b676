#include "plait/control/key_clerk.h"

#include <chrono>

namespace plait {

KeyClerk::KeyClerk(net::CertificateStore& store, LogSink& log) : store_(store), log_(log), thread_([this] { run(); }) {
  store_.setLoader(this);
}

KeyClerk::~KeyClerk() {
  is_ending_ = true;
  if (!is_asked_.exchange(true)) asked_.release();
  thread_.join();
  store_.setLoader(nullptr);
}

void KeyClerk::request(net::CertificateStore&) {
  if (!is_asked_.exchange(true)) asked_.release();
}

void KeyClerk::run() {
  while (true) {
    asked_.acquire();
    is_asked_ = false;
    if (is_ending_) return;
    while (auto outcome = store_.loadNext()) {
      if (outcome->wrong.empty()) continue;
      uint32_t unsaid = 0;
      // Any client may ask for a site, as often as it likes.
      if (!said_.admit(std::chrono::steady_clock::now().time_since_epoch().count(), unsaid)) continue;
      log_.say({LogLevel::error, "certificate", outcome->wrong + unsaidText(unsaid)});
    }
  }
}

}  // namespace plait
