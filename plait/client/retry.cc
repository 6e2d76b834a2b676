#include "plait/client/retry.h"

#include "plait/base/rare.h"
#include "plait/http/field_rules.h"

namespace plait {

Verdict verdictOn(const Error& error, std::string_view method) {
  switch (error.code) {
    case ErrorCode::http_1_1_required:
      return Verdict::over_http_1_1;
    case ErrorCode::refused_stream:
    case ErrorCode::goaway_unprocessed:
    case ErrorCode::never_sent:
      return Verdict::unprocessed;
    case ErrorCode::connection_lost:
    case ErrorCode::connection_stale:
    case ErrorCode::protocol_error:
    case ErrorCode::stalled:
      return error.reach == Reach::connection && http::isIdempotent(method) ? Verdict::unknown : Verdict::final;
    case ErrorCode::deadline_exceeded:
      return http::isIdempotent(method) ? Verdict::late : Verdict::final;
    default:
      return Verdict::final;
  }
}

bool RetryBudget::takeUnknown() {
  if (tokens_x100_ < 100) {
    PLAIT_RARE("too many requests are repeated");
    return false;
  }
  tokens_x100_ -= 100;
  return true;
}

bool RetryBudget::takeUnprocessed(TimeNs now_ns) {
  roll(now_ns);
  const auto left = static_cast<uint64_t>(ns_per_s - (now_ns - window_ns_));
  const auto inWindow = [left](uint64_t now, uint64_t before) { return now + before * left / ns_per_s; };
  if (inWindow(free_, free_before_) * 5 < inWindow(tries_, tries_before_)) {
    free_ += 1;
    return true;
  }
  PLAIT_RARE("many requests are refused");
  return takeUnknown();
}

void RetryBudget::beginWindow(TimeNs now_ns) {
  const int64_t passed_ns = now_ns - window_ns_;
  const bool is_next = passed_ns < 2 * ns_per_s;
  tries_before_ = is_next ? tries_ : 0;
  free_before_ = is_next ? free_ : 0;
  tries_ = free_ = 0;
  window_ns_ += passed_ns / ns_per_s * ns_per_s;
}

}  // namespace plait
