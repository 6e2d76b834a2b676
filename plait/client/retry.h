// Whether a failed try may be repeated, and at what cost: the verdict, which is pure, and the budget that bounds all
// repetitions together.
//
//   class        proof that it is safe                                   bound
//   unprocessed  never sent, REFUSED_STREAM, above GOAWAY's last id       5 for each request; free below a fifth of all
//                (RFC 9113 §8.7), any method                              tries of the last second, then from the
//                bucket
//   unknown      the connection was lost, or no head came in time:        once for each request; from the bucket
//                idempotent methods alone (RFC 9110 §9.2.2)
#pragma once

#include <string_view>

#include "plait/base/error.h"
#include "plait/base/time.h"

namespace plait {

// Why a request was tried again; for counters and logs.
enum class RetryClass : uint8_t { none, unprocessed, unknown };

class RetryBudget;

// The tries of one request at all endpoints that it has met. The request owns it, and it outlives every try.
struct Attempts {
  // Of the endpoints that could stand for each other (ClusterSpec); null: the pool's, for embedders without clusters.
  RetryBudget* budget = nullptr;
  uint32_t most_retries = UINT32_MAX;  // its route's, beside Limits::unprocessed_retries
  bool may_repeat_unknown = true;      // likewise
  TimeNs begun_ns = 0;                 // the last try: chosen, and then sent
  uint8_t retries = 0;                 // tries after the first
  RetryClass last = RetryClass::none;  // of the last retry
  bool has_used_unknown = false;       // the one repetition of unknown fate has been had
  // It may have broken a connection, or the pooled ones send it back one after the other: each further try, of
  // whichever class, is on a connection of its own.
  bool travels_alone = false;
  bool is_counted = false;  // among the pool's requests
  // Another endpoint could take the request: its owner repeats a failed try there, and the pool does not repeat it.
  bool elsewhere = false;
  // Another endpoint could, which has refused it before: the same where its fate at this one is unknown.
  bool elsewhere_again = false;
};

enum class Verdict : uint8_t {
  final,
  over_http_1_1,  // the same endpoint answers it over HTTP/1.1 (RFC 9113 §7, HTTP_1_1_REQUIRED)
  unprocessed,
  unknown,  // to be repeated on a connection of its own that was made after the failure
  late,     // no head in time: to be repeated at another endpoint, on any connection
};

// It may have been processed.
constexpr bool isInDoubt(Verdict verdict) {
  return verdict == Verdict::unknown || verdict == Verdict::late;
}

// The verdict on the error that ended a try, bounds aside.
Verdict verdictOn(const Error& error, std::string_view method);

class RetryBudget {
 public:
  // `percent` of a token is earned by each request; `burst` tokens at most are kept, and are there at first.
  RetryBudget(uint32_t percent, uint32_t burst, TimeNs now_ns)
      : tokens_x100_(uint64_t{burst} * 100), most_x100_(tokens_x100_), percent_(percent), window_ns_(now_ns) {}

  void onRequest() { tokens_x100_ = tokens_x100_ + percent_ < most_x100_ ? tokens_x100_ + percent_ : most_x100_; }
  void onTry(TimeNs now_ns) {
    roll(now_ns);
    tries_ += 1;
  }
  // False where no more may be repeated now.
  bool takeUnknown();
  // Free while such repetitions are less than a fifth of the tries of the last second.
  bool takeUnprocessed(TimeNs now_ns);

 private:
  void roll(TimeNs now_ns) {
    if (now_ns - window_ns_ >= ns_per_s) [[unlikely]]
      beginWindow(now_ns);
  }
  void beginWindow(TimeNs now_ns);

  uint64_t tokens_x100_;
  uint64_t most_x100_;
  uint32_t percent_;
  // Counts of the present second and of the one before, which counts for the part that the present one has not replaced
  // yet.
  TimeNs window_ns_;
  uint64_t tries_ = 0;
  uint64_t tries_before_ = 0;
  uint64_t free_ = 0;
  uint64_t free_before_ = 0;
};

}  // namespace plait
