// The endpoints of a worker: a fixed number of places, found by checked id.
#pragma once

#include "plait/base/slab.h"
#include "plait/client/endpoint.h"

namespace plait {

class EndpointTable {
 public:
  explicit EndpointTable(size_t places) : slab_(places) {}

  // Null where every place is taken.
  Endpoint* add(std::shared_ptr<const BackendOptions> options, Timer::Fire on_trial_due) {
    const uint32_t number = options->number;
    Endpoint* endpoint = slab_.create(std::move(options), on_trial_due);
    if (endpoint == nullptr) return nullptr;
    endpoint->id = {slab_.indexOf(endpoint), slab_.generation(endpoint), number};
    all_.pushBack(*endpoint);
    return endpoint;
  }
  // Null where the endpoint has gone, or leaves.
  Endpoint* find(EndpointId id) const {
    Endpoint* endpoint = slab_.at(id.index, id.generation);
    return endpoint == nullptr || endpoint->state == Endpoint::State::leaving ? nullptr : endpoint;
  }
  void remove(Endpoint& endpoint) {
    endpoint.node.unlink();
    slab_.destroy(&endpoint);
  }

  List<Endpoint, &Endpoint::node>& all() { return all_; }
  const List<Endpoint, &Endpoint::node>& all() const { return all_; }
  size_t used() const { return slab_.used(); }
  size_t peak() const { return slab_.peak(); }
  size_t capacity() const { return slab_.capacity(); }
  static size_t bytesFor(size_t places) { return Slab<Endpoint>::bytesFor(places); }
  size_t reservedBytes() const { return slab_.reservedBytes(); }
  void prefault() { slab_.prefault(); }

 private:
  Slab<Endpoint> slab_;
  List<Endpoint, &Endpoint::node> all_;
};

}  // namespace plait
