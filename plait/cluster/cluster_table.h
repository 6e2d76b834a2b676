// The clusters of one worker, by the number that the plan gives them, and the members of all of them. Places are fixed:
// what is installed allocates nothing.
//
//   prepare()   endpoints that are new get their places in the pool; nobody sees them yet
//   commit()    clusters have the plan's endpoints and settings; endpoints that no plan names leave
//   undo()      what was prepared is taken back
#pragma once

#include <span>
#include <string>

#include "plait/base/slab.h"
#include "plait/cluster/cluster.h"

namespace plait {

class ClusterTable {
 public:
  // The pool and the Io must outlive the table. As many clusters as the pool has places for endpoints.
  ClusterTable(ConnectionPool& pool, Io& io);
  ClusterTable(const ClusterTable&) = delete;
  ClusterTable& operator=(const ClusterTable&) = delete;
  ~ClusterTable();

  using Specs = std::span<const std::shared_ptr<const ClusterSpec>>;
  // `next` is indexed by number; null where a number is free. An error: a place is missing, and nothing has changed.
  Status prepare(Specs next);
  // After prepare() with the same specs, which must stay until the next commit.
  void commit(Specs next);
  void undo();

  // Null where no cluster has that number.
  Cluster* at(uint32_t number) const { return number < count_ ? clusters_[number] : nullptr; }
  size_t count() const { return count_; }
  // The endpoint with that number (BackendOptions::number), none where there is none.
  EndpointId endpoint(uint32_t number) const {
    return number < capacity_ && pool_.find(by_number_[number]) != nullptr ? by_number_[number] : EndpointId();
  }
  size_t endpointCapacity() const { return capacity_; }
  // Called for each endpoint that gets a number, before anybody uses it.
  void onAdded(void (*call)(void* context, uint32_t number), void* context) {
    on_added_ = call;
    added_context_ = context;
  }
  // Null for none; must outlive the table. For clusters that there are and those that come.
  void setObserver(ClusterObserver* observer);

  // -- of all clusters together
  ClusterCounters counters() const;
  bool isPanic() const;
  size_t waiting() const;
  bool isAtRest() const;
  TimeNs owedSince();
  // Calls use(number, score) for the endpoints of all clusters (Cluster::score).
  template <class Use>
  void forEachScore(Use use) const {
    forEach([&](const Cluster& cluster) {
      for (size_t n = 0; n < cluster.size(); ++n) {
        if (const Endpoint* endpoint = pool_.find(cluster.endpoint(n)))
          use(endpoint->options->number, cluster.score(n));
      }
    });
  }

  ConnectionPool& pool() { return pool_; }
  static size_t bytesFor(size_t endpoints);
  size_t reservedBytes() const { return memory_.size() + slab_.reservedBytes(); }
  void prefault() {
    memory_.prefault();
    slab_.prefault();
  }

 private:
  template <class T>
  T* carve(size_t& offset) const {
    offset = (offset + alignof(T) - 1) / alignof(T) * alignof(T);
    T* const place = reinterpret_cast<T*>(memory_.data() + offset);
    offset += capacity_ * sizeof(T);
    return place;
  }
  template <class Use>
  void forEach(Use use) const {
    for (uint32_t i = 0; i < count_; ++i) {
      if (clusters_[i] != nullptr) use(*clusters_[i]);
    }
    for (uint32_t i = 0; i < left_count_; ++i) use(*left_[i]);
  }
  // Destroys those that have left and that nobody uses any more.
  void sweepLeft();
  bool isKnown(uint32_t number) const { return !endpoint(number).isNone(); }

  ConnectionPool& pool_;
  Io& io_;
  const size_t capacity_;
  Reservation memory_;
  Slab<Cluster> slab_;
  // In `memory_`, each with a place for every endpoint that the pool may have.
  ClusterMember* members_;  // by the endpoint's index
  ClusterMember** lists_;   // the members of each cluster, one cluster behind the other
  EndpointId* by_number_;   // by BackendOptions::number
  Cluster** clusters_;      // by ClusterSpec::number
  Cluster** left_;          // those that have left and are still used
  uint32_t count_ = 0;      // of clusters_, the numbers that may be taken
  uint32_t left_count_ = 0;
  ClusterCounters gone_;  // of clusters that are no more
  ClusterObserver* observer_ = nullptr;
  void (*on_added_)(void* context, uint32_t number) = nullptr;
  void* added_context_ = nullptr;
};

}  // namespace plait
