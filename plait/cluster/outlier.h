// Passive health of one endpoint: which of its answers count against it, and when it has to go. Pure: the clock is an
// argument.
//
//   seen                                     a strike
//   broken connection, 502, 503, 504,        if the last five ended so, one after the other, for three clients of the
//   no head in time                          last 10 s or for all that there were: one client alone proves nothing
//   500                                      likewise, and only if its siblings do better, from 20 answers to three
//                                            clients on; siblings that answer nothing do not (Siblings500)
//   refused                                  never, but less is sent there
//   cancelled, one client's doing            never
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "plait/base/client_key.h"
#include "plait/base/time.h"
#include "plait/client/head_time.h"
#include "plait/plan/cluster_spec.h"

namespace plait {

// How a request at an endpoint ended, as far as the endpoint's health goes.
enum class Seen : uint8_t {
  good,
  neutral,       // nothing about the endpoint: cancelled, or no fault of its own
  refused,       // not processed: REFUSED_STREAM, or above a GOAWAY's last id
  server_error,  // 500
  bad_gateway,   // 502, 503, 504, or an answer that is none
  broken,        // its connection broke
  late,          // no head in time
};

// The clients that were served in the last 10 s, and those of them that were served badly. Eight are told apart, which
// is enough to count to three.
class RecentClients {
 public:
  static constexpr int64_t window_ns = 10 * ns_per_s;
  static constexpr uint32_t enough = 3;

  void note(const ClientKey& client, bool is_bad, TimeNs now_ns);
  // At least three clients were served badly, or all that there were. A client is an address, or a connection where
  // fewer than three addresses were served.
  bool areManyHurt(TimeNs now_ns) const;
  bool areMany(TimeNs now_ns) const;

 private:
  struct Entry {
    ClientKey client;
    TimeNs seen_ns = -window_ns;
    TimeNs hurt_ns = -window_ns;
  };
  template <class Wanted>
  uint32_t count(bool by_address, Wanted wanted) const;

  std::array<Entry, 8> entries_{};
  TimeNs pushed_out_ns_ = -window_ns;  // a client that was served well was forgotten then
};

class Outlier {
 public:
  // True: the endpoint has to go. `siblings_500_percent` is their share of answers with 500. `strikes`: 0 where what
  // was seen has been one already, as the end of a connection that carried several requests.
  bool note(Seen seen, const ClientKey& client, TimeNs now_ns, uint32_t failures, uint32_t siblings_500_percent,
            uint32_t strikes = 1);
  // Forgets everything, when the endpoint is ejected or used again.
  void reset();
  // The answers of the last 10 s or so, and the 500s among them.
  struct Answers {
    uint32_t count = 0;
    uint32_t errors = 0;
  };
  Answers recentAnswers(TimeNs now_ns) const;
  // 500s in a hundred of them; 0 where there were fewer than `enough_answers`.
  uint32_t share500(TimeNs now_ns) const;
  static constexpr uint32_t enough_answers = 20;
  // The factor of its score, from 1 to 64: an endpoint that fails fast attracts nobody.
  int64_t penalty(TimeNs now_ns) const;
  // An overload is no strike, and less is to be sent there: 429, RESOURCE_EXHAUSTED.
  void noteOverload(TimeNs now_ns) { addPenalty(now_ns, 4); }

 private:
  static constexpr int64_t penalty_half_life_ns = 5 * ns_per_s;
  // A `part`-th of what is left to the most.
  void addPenalty(TimeNs now_ns, int64_t part);
  void roll(TimeNs now_ns);

  RecentClients clients_;
  uint32_t strikes_ = 0;
  int64_t failing_ = 0;  // parts of a million, as of failing_noted_ns_
  TimeNs failing_noted_ns_ = 0;
  // Answers, and 500s among them, of the present and the last window of 5 s.
  TimeNs window_ns_ = 0;
  uint32_t answers_ = 0;
  uint32_t answers_before_ = 0;
  uint32_t errors_ = 0;
  uint32_t errors_before_ = 0;
};

// The share of 500s that siblings of an endpoint answer with. A sibling that has answered little proves little: it
// may hang, or have been down. So each weighs as much as it has answered, up to `Outlier::enough_answers`, and one
// answer more is taken for a 500.
class Siblings500 {
 public:
  void add(const Outlier& sibling, TimeNs now_ns);
  // In a hundred: 100 where none has answered.
  uint32_t percent() const { return (errors_x100_ + 100) / (weight_ + 1); }

 private:
  uint32_t errors_x100_ = 0;
  uint32_t weight_ = 0;
};

}  // namespace plait
