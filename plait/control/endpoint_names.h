// The names of the endpoints by their numbers, for logs and metrics, as they are in the present generation of the plan.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace plait {

class EndpointNames {
 public:
  using Names = std::vector<std::string>;  // by number; empty where a number is free

  explicit EndpointNames(Names names) : names_(std::make_shared<const Names>(std::move(names))) {}
  // From any thread. Those of endpoints that have gone stay until their number has another tenant, for requests that
  // still run and are logged at their end.
  void set(const Names& next) {
    const std::lock_guard lock(mutex_);
    Names merged = next;
    if (merged.size() < names_->size()) merged.resize(names_->size());
    for (size_t i = 0; i < names_->size(); ++i) {
      if (merged[i].empty()) merged[i] = (*names_)[i];
    }
    names_ = std::make_shared<const Names>(std::move(merged));
    present_ = std::make_shared<const Names>(next);
  }
  std::shared_ptr<const Names> get() const {
    const std::lock_guard lock(mutex_);
    return names_;
  }
  // Those of the present generation alone.
  std::shared_ptr<const Names> present() const {
    const std::lock_guard lock(mutex_);
    return present_ != nullptr ? present_ : names_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Names> names_;
  std::shared_ptr<const Names> present_;
};

}  // namespace plait
