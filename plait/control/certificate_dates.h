// When the certificates end that the configuration names, for metrics and for a warning that is repeated.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace plait {

struct CertificateEnd {
  std::string file;
  int64_t not_after_s = 0;  // since 1970
};

// Those of the present generation of the plan, each file once. From any thread.
class CertificateDates {
 public:
  using Ends = std::vector<CertificateEnd>;

  explicit CertificateDates(Ends ends) : ends_(std::make_shared<const Ends>(std::move(ends))) {}
  void set(Ends next) {
    auto made = std::make_shared<const Ends>(std::move(next));
    const std::lock_guard lock(mutex_);
    ends_.swap(made);
  }
  std::shared_ptr<const Ends> get() const {
    const std::lock_guard lock(mutex_);
    return ends_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Ends> ends_;
};

// Says once a day which certificates have ended, or are about to. The start has said it before.
class EndReminder {
 public:
  static constexpr int64_t period_s = 86400;
  // Sentences at once; the last one counts the others.
  static constexpr size_t most_said = 100;

  explicit EndReminder(int64_t now_s) : next_s_(now_s + period_s) {}
  bool isDue(int64_t now_s) const { return now_s >= next_s_; }
  // Where it is due.
  std::vector<std::string> remind(std::span<const CertificateEnd> ends, int64_t now_s);

 private:
  int64_t next_s_;
};

}  // namespace plait
