#include "plait/cluster/cluster_table.h"

#include <algorithm>
#include <new>
#include <utility>

#include "plait/base/rare.h"

namespace plait {
namespace {

void add(ClusterCounters& sum, const ClusterCounters& one) {
  sum.waits += one.waits;
  sum.ejections += one.ejections;
  sum.panics += one.panics;
  sum.trial_requests += one.trial_requests;
}

constexpr size_t perEndpoint =
    sizeof(ClusterMember) + sizeof(ClusterMember*) + sizeof(EndpointId) + 2 * sizeof(Cluster*);

// Each of the five arrays begins where its type may lie.
constexpr size_t memoryFor(size_t endpoints) {
  return endpoints * perEndpoint + 5 * alignof(ClusterMember);
}

}  // namespace

size_t ClusterTable::bytesFor(size_t endpoints) {
  return memoryFor(endpoints) + Slab<Cluster>::bytesFor(endpoints);
}

ClusterTable::ClusterTable(ConnectionPool& pool, Io& io)
    : pool_(pool), io_(io), capacity_(pool.endpoints().capacity()), memory_(memoryFor(capacity_)), slab_(capacity_) {
  size_t offset = 0;
  members_ = carve<ClusterMember>(offset);
  lists_ = carve<ClusterMember*>(offset);
  by_number_ = carve<EndpointId>(offset);
  clusters_ = carve<Cluster*>(offset);
  left_ = carve<Cluster*>(offset);
}

ClusterTable::~ClusterTable() {
  forEach([this](Cluster& cluster) { slab_.destroy(&cluster); });
}

Status ClusterTable::prepare(Specs next) {
  sweepLeft();
  size_t wanted = 0;
  for (uint32_t number = 0; number < next.size(); ++number) {
    if (next[number] == nullptr) continue;
    if (number >= capacity_) return fail(backendError(ErrorCode::no_memory, "every place for a cluster is taken"));
    if (at(number) == nullptr) wanted += 1;
  }
  if (wanted > slab_.available()) return fail(backendError(ErrorCode::no_memory, "every place for a cluster is taken"));
  for (const auto& spec : next) {
    if (spec == nullptr) continue;
    for (const EndpointSpec& endpoint : spec->endpoints) {
      const uint32_t number = endpoint.options->number;
      PLAIT_ASSERT(number < capacity_);
      if (isKnown(number)) continue;
      const Result<EndpointId> added = pool_.add(endpoint.options);
      if (!added) {
        undo();
        return fail(added.error());
      }
      by_number_[number] = *added;
      new (&members_[added->index]) ClusterMember{.id = *added};
      if (on_added_ != nullptr) on_added_(added_context_, number);
    }
  }
  return {};
}

void ClusterTable::undo() {
  for (uint32_t number = 0; number < capacity_; ++number) {
    const EndpointId id = endpoint(number);
    if (!id.isNone() && members_[id.index].at == UINT32_MAX) pool_.remove(id);
  }
}

void ClusterTable::commit(Specs next) {
  for (uint32_t number = 0; number < capacity_; ++number) {
    if (isKnown(number)) members_[by_number_[number].index].is_wanted = false;
  }
  ClusterMember** list = lists_;
  for (uint32_t number = 0; number < std::max<size_t>(count_, next.size()); ++number) {
    const ClusterSpec* spec = number < next.size() ? next[number].get() : nullptr;
    Cluster*& cluster = clusters_[number];
    if (spec == nullptr) {
      if (cluster != nullptr) {
        cluster->leave();
        left_[left_count_++] = std::exchange(cluster, nullptr);
      }
      continue;
    }
    if (cluster == nullptr) {
      cluster = slab_.create(pool_, std::span(members_, capacity_), io_);
      cluster->setObserver(observer_);
    }
    ClusterMember** const begin = list;
    for (const EndpointSpec& endpoint : spec->endpoints) {
      ClusterMember& member = members_[by_number_[endpoint.options->number].index];
      member.is_wanted = true;
      pool_.update(member.id, endpoint.options);
      *list++ = &member;
    }
    cluster->configure(*spec, ClusterMembers({begin, list}));
  }
  count_ = static_cast<uint32_t>(next.size());
  for (uint32_t number = 0; number < capacity_; ++number) {
    const EndpointId id = endpoint(number);
    if (id.isNone() || members_[id.index].is_wanted) continue;
    PLAIT_RARE("an endpoint leaves");
    pool_.remove(id);
  }
  sweepLeft();
}

void ClusterTable::sweepLeft() {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < left_count_; ++i) {
    if (!left_[i]->isUnused()) {
      left_[kept++] = left_[i];
      continue;
    }
    add(gone_, left_[i]->counters());
    slab_.destroy(left_[i]);
  }
  left_count_ = kept;
}

void ClusterTable::setObserver(ClusterObserver* observer) {
  observer_ = observer;
  forEach([observer](Cluster& cluster) { cluster.setObserver(observer); });
}

ClusterCounters ClusterTable::counters() const {
  ClusterCounters sum = gone_;
  forEach([&sum](const Cluster& cluster) { add(sum, cluster.counters()); });
  return sum;
}

bool ClusterTable::isPanic() const {
  bool is_panic = false;
  forEach([&is_panic](const Cluster& cluster) { is_panic = is_panic || cluster.isPanic(); });
  return is_panic;
}

size_t ClusterTable::waiting() const {
  size_t waiting = 0;
  forEach([&waiting](const Cluster& cluster) { waiting += cluster.waiting(); });
  return waiting;
}

bool ClusterTable::isAtRest() const {
  bool is_at_rest = true;
  forEach([&is_at_rest](const Cluster& cluster) { is_at_rest = is_at_rest && cluster.isAtRest(); });
  return is_at_rest;
}

TimeNs ClusterTable::owedSince() {
  TimeNs since_ns = never_ns;
  forEach([&since_ns](Cluster& cluster) { since_ns = std::min(since_ns, cluster.owedSince()); });
  return since_ns;
}

}  // namespace plait
