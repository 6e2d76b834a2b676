#include "plait/cluster/outlier.h"

#include <algorithm>

namespace plait {

void RecentClients::note(const ClientKey& client, bool is_bad, TimeNs now_ns) {
  Entry* place = nullptr;
  bool is_neighbour = false;
  for (Entry& entry : entries_) {
    if (entry.client == client) {
      place = &entry;
      break;
    }
    // The place of a connection of the same address is taken first: one address must not push out all others.
    const bool same_address = entry.client.address == client.address;
    if (place == nullptr || (same_address && !is_neighbour) ||
        (same_address == is_neighbour && entry.seen_ns < place->seen_ns)) {
      place = &entry;
      is_neighbour = same_address;
    }
  }
  if (place->client != client) {
    // A free place is better than any neighbour's.
    const auto free =
        std::ranges::find_if(entries_, [now_ns](const Entry& entry) { return entry.seen_ns + window_ns <= now_ns; });
    if (free != entries_.end()) place = &*free;
    if (place->seen_ns + window_ns > now_ns && place->hurt_ns + window_ns <= now_ns) pushed_out_ns_ = now_ns;
    *place = {client};
  }
  place->seen_ns = now_ns;
  if (is_bad) place->hurt_ns = now_ns;
}

template <class Wanted>
uint32_t RecentClients::count(bool by_address, Wanted wanted) const {
  uint32_t found = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (!wanted(entries_[i])) continue;
    bool is_first = true;
    for (size_t before = 0; before < i && by_address; ++before) {
      if (wanted(entries_[before]) && entries_[before].client.address == entries_[i].client.address) is_first = false;
    }
    found += is_first ? 1 : 0;
  }
  return found;
}

bool RecentClients::areMany(TimeNs now_ns) const {
  const auto isSeen = [now_ns](const Entry& entry) { return entry.seen_ns + window_ns > now_ns; };
  const bool by_address = count(true, isSeen) >= enough;
  return count(by_address, isSeen) >= enough;
}

bool RecentClients::areManyHurt(TimeNs now_ns) const {
  const auto isSeen = [now_ns](const Entry& entry) { return entry.seen_ns + window_ns > now_ns; };
  const auto isHurt = [now_ns](const Entry& entry) { return entry.hurt_ns + window_ns > now_ns; };
  const bool by_address = count(true, isSeen) >= enough;
  const uint32_t hurt = count(by_address, isHurt);
  if (hurt >= enough) return true;
  return hurt == count(by_address, isSeen) && pushed_out_ns_ + window_ns <= now_ns;
}

bool Outlier::note(Seen seen, const ClientKey& client, TimeNs now_ns, uint32_t failures, uint32_t siblings_500_percent,
                   uint32_t strikes) {
  if (seen == Seen::neutral) return false;
  // A connection that has had its number of requests refuses some: less than a failure.
  if (seen == Seen::refused) addPenalty(now_ns, 16);
  if (seen == Seen::refused) return false;
  roll(now_ns);
  answers_ += 1;
  if (seen == Seen::server_error) errors_ += 1;
  clients_.note(client, seen != Seen::good, now_ns);
  if (seen == Seen::good) {
    strikes_ = 0;
    if (failing_ != 0) {
      failing_ = decayed(failing_, now_ns - failing_noted_ns_, penalty_half_life_ns) * 7 / 8;
      failing_noted_ns_ = now_ns;
    }
    return false;
  }
  if (seen == Seen::server_error) {
    // A request for the impossible gets the same 500 everywhere.
    const uint32_t share = share500(now_ns);
    if (share == 0 || siblings_500_percent * 2 >= share || !clients_.areMany(now_ns)) return false;
  }
  if (strikes != 0) addPenalty(now_ns, 4);
  strikes_ += strikes;
  return strikes_ >= failures && clients_.areManyHurt(now_ns);
}

void Outlier::reset() {
  *this = {};
}

Outlier::Answers Outlier::recentAnswers(TimeNs now_ns) const {
  if (now_ns - window_ns_ >= 2 * RecentClients::window_ns) return {};
  return {answers_ + answers_before_, errors_ + errors_before_};
}

uint32_t Outlier::share500(TimeNs now_ns) const {
  const Answers answers = recentAnswers(now_ns);
  return answers.count < enough_answers ? 0 : static_cast<uint32_t>(uint64_t{answers.errors} * 100 / answers.count);
}

void Siblings500::add(const Outlier& sibling, TimeNs now_ns) {
  const Outlier::Answers answers = sibling.recentAnswers(now_ns);
  if (answers.count == 0) return;
  const uint32_t weight = std::min(answers.count, Outlier::enough_answers);
  errors_x100_ += static_cast<uint32_t>(uint64_t{answers.errors} * 100 * weight / answers.count);
  weight_ += weight;
}

int64_t Outlier::penalty(TimeNs now_ns) const {
  if (failing_ == 0) return 1;
  return 1 + decayed(failing_, now_ns - failing_noted_ns_, penalty_half_life_ns) * 63 / 1'000'000;
}

void Outlier::addPenalty(TimeNs now_ns, int64_t part) {
  failing_ = decayed(failing_, now_ns - failing_noted_ns_, penalty_half_life_ns);
  failing_ += (1'000'000 - failing_) / part;
  failing_noted_ns_ = now_ns;
}

void Outlier::roll(TimeNs now_ns) {
  constexpr int64_t half_ns = RecentClients::window_ns / 2;
  if (now_ns - window_ns_ < half_ns) return;
  const bool is_next = now_ns - window_ns_ < 2 * half_ns;
  answers_before_ = is_next ? answers_ : 0;
  errors_before_ = is_next ? errors_ : 0;
  answers_ = errors_ = 0;
  window_ns_ = now_ns;
}

}  // namespace plait
