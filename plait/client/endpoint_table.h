// The endpoints of a worker: a fixed number of places, found by checked id.
#pragma once

#include "plait/base/slab.h"
#include "plait/client/endpoint.h"

namespace plait {

class EndpointTable {
 public:
  explicit EndpointTable(size_t places) : slab_(places) {}

  // Null where every place is taken.
  Endpoint* add(const BackendOptions& options, Timer::Fire on_trial_due) {
    Endpoint* endpoint = slab_.create(options, on_trial_due);
    if (endpoint == nullptr) return nullptr;
    endpoint->id = {slab_.indexOf(endpoint), slab_.generation(endpoint)};
    all_.pushBack(*endpoint);
    return endpoint;
  }
  // Null where the endpoint has gone, or leaves.
  Endpoint* find(EndpointId id) const {
    Endpoint* endpoint = slab_.at(id.index, id.generation);
    return endpoint == nullptr || endpoint->state == Endpoint::State::leaving ? nullptr : endpoint;
  }
  // The endpoint with the same identity: protocol, host, port and TLS identity (name and context); null for none.
  const Endpoint* findByKey(const BackendOptions& options) const;
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

inline const Endpoint* EndpointTable::findByKey(const BackendOptions& options) const {
  for (const Endpoint* endpoint = all_.front(); endpoint != nullptr; endpoint = all_.next(*endpoint)) {
    const BackendOptions& has = endpoint->options;
    if (has.protocol == options.protocol && has.host == options.host && has.port == options.port &&
        has.server_name == options.server_name && has.tls == options.tls && endpoint->state != Endpoint::State::leaving)
      return endpoint;
  }
  return nullptr;
}

}  // namespace plait
