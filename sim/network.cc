#include "sim/network.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace plait::sim {
namespace {

constexpr size_t largest_segment = 64 * 1024;

}  // namespace

Network::Network(uint64_t seed, bool prints)
    : random_(seed), faults_(random_), trace_(prints), now_ns_(ns_per_s + random_.below(1'000'000'000)) {
  trace_.setNow(now_ns_);
  for (size_t i = 0; i < Faults::count; ++i) {
    if (faults_.isOn(static_cast<Fault>(i))) trace_.note("fault %s", std::string(Faults::name(i)).c_str());
  }
}

void Network::quieten() {
  faults_.quieten();
  for (auto& [id, connection] : connections_) {
    for (End& end : connection->ends) end.capacity_ = std::max<size_t>(end.capacity_, 64 * 1024);
  }
}

void Network::at(TimeNs time_ns, std::function<void()> event) {
  events_.push({std::max(time_ns, now_ns_), random_.next() >> 32, order_++, std::move(event)});
}

void Network::runNext() {
  // The queue hands out constant references, and what runs may push.
  auto event = std::move(const_cast<Event&>(events_.top()));
  events_.pop();
  now_ns_ = std::max(now_ns_, event.time_ns);
  trace_.setNow(now_ns_);
  event.run();
}

void Network::listen(uint16_t port, Acceptor& acceptor) {
  acceptors_[port].push_back(&acceptor);
}

void Network::unlisten(uint16_t port, Acceptor& acceptor) {
  std::erase(acceptors_[port], &acceptor);
}

void Network::connect(uint16_t port, std::shared_ptr<bool> cancelled, std::function<void(End*, int)> done) {
  if (happens(Fault::connect_blackhole)) {
    trace_.note("connect to %u: nobody answers", port);
    return;
  }
  const bool refused = happens(Fault::connect_refused);
  const TimeNs trip_ns = 20'000 + random_.below(5'000'000);
  after(trip_ns, [this, port, cancelled, done = std::move(done), refused]() mutable {
    if (refused) {
      if (!*cancelled) done(nullptr, -ECONNREFUSED);
      return;
    }
    knock(port, std::move(cancelled), std::move(done), 0);
  });
}

void Network::knock(uint16_t port, std::shared_ptr<bool> cancelled, std::function<void(End*, int)> done, int tries) {
  if (*cancelled) return;
  const auto found = acceptors_.find(port);
  if (found == acceptors_.end() || found->second.empty()) {
    trace_.note("connect to %u: refused", port);
    return done(nullptr, -ECONNREFUSED);
  }
  auto connection = std::make_shared<Connection>();
  const TimeNs latency_ns = 10'000 + (random_.below(4) == 0 ? random_.below(40'000'000) : random_.below(500'000));
  for (size_t side = 0; side < 2; ++side) {
    End& end = connection->ends[side];
    end.network_ = this;
    end.other_ = &connection->ends[1 - side];
    end.id_ = next_id_;
    end.latency_ns_ = latency_ns;
    end.capacity_ = happens(Fault::small_buffers) ? 200 + random_.below(2000) : 4096u << random_.below(7);
    // An end that is open keeps the connection alive; events hold it as long as they need it.
    end.connection_ = connection;
  }
  Acceptor* acceptor = found->second[random_.below(static_cast<uint32_t>(found->second.size()))];
  End& near = connection->ends[0];
  End& far = connection->ends[1];
  near.id_ = far.id_ = next_id_;
  if (!acceptor->onConnection(far)) {
    after(200 * ns_per_ms << std::min(tries, 4),
          [this, port, cancelled, done = std::move(done), tries] { knock(port, cancelled, done, tries + 1); });
    return;
  }
  next_id_ += 1;
  open_ends_ += 2;
  trace_.note("connection %u to port %u", near.id_, port);
  after(latency_ns, [connection, cancelled, done = std::move(done)] {
    if (*cancelled) return connection->ends[0].close(true);
    done(&connection->ends[0], 0);
  });
  connections_.emplace(near.id_, connection);
}

void Network::release(const End& end) {
  open_ends_ -= 1;
  if (end.other_->closed_) connections_.erase(end.id_);
}

TimeNs Network::arrivalOf(End& from) {
  TimeNs latency_ns = from.latency_ns_;
  if (happens(Fault::jitter)) latency_ns *= 1 + random_.below(10);
  from.last_arrival_ns_ = std::max(from.last_arrival_ns_, now_ns_ + latency_ns);
  return from.last_arrival_ns_;
}

void Network::deliver(End& from, std::string bytes) {
  auto connection = from.connection_.lock();
  End* to = from.other_;
  // Pieces of one segment keep their order by arriving one nanosecond after another.
  const TimeNs arrival_ns = from.last_arrival_ns_ = arrivalOf(from) + 1;
  at(arrival_ns, [to, connection, bytes = std::move(bytes)] {
    if (to->closed_) {
      // Nobody is there to read it: the sender hears of that.
      to->network_->breakEnd(*to->other_);
      return;
    }
    if (to->reset_) return;
    to->received_ += bytes;
    if (to->owner_ != nullptr) to->owner_->onReadable(*to);
  });
}

void Network::breakEnd(End& end) {
  if (end.reset_ || end.closed_) return;
  auto connection = end.connection_.lock();
  after(end.latency_ns_, [&end, connection] {
    if (end.reset_ || end.closed_) return;
    end.reset_ = true;
    if (end.owner_ != nullptr) {
      end.owner_->onReadable(end);
      if (!end.closed_ && end.owner_ != nullptr) end.owner_->onWritable(end);
    }
  });
}

int64_t End::write(Bytes bytes) {
  Network& network = *network_;
  if (reset_) return -ECONNRESET;
  if (fin_sent_) return -EPIPE;
  size_t count = std::min(bytes.size(), capacity_ - std::min(capacity_, unread_));
  if (count == 0) {
    wants_room_ = true;
    return 0;
  }
  if (count > 1 && network.happens(Fault::partial_write)) {
    count = 1 + network.random().below(static_cast<uint32_t>(count));
  }
  if (network.happens(Fault::connection_reset)) {
    network.trace().note("connection %u breaks", id_);
    network.breakEnd(*this);
    network.breakEnd(*other_);
  }
  unread_ += count;
  const std::string_view text = asText(bytes.first(count));
  for (size_t begin = 0; begin < count;) {
    size_t piece = std::min(count - begin, largest_segment);
    if (piece > 1 && network.happens(Fault::split_delivery)) {
      piece = 1 + network.random().below(static_cast<uint32_t>(piece));
    }
    network.deliver(*this, std::string(text.substr(begin, piece)));
    begin += piece;
  }
  return static_cast<int64_t>(count);
}

int64_t End::read(MutableBytes bytes) {
  if (!received_.empty()) {
    size_t count = std::min(bytes.size(), received_.size());
    if (count > 1 && network_->happens(Fault::split_delivery)) {
      count = 1 + network_->random().below(static_cast<uint32_t>(count));
    }
    std::memcpy(bytes.data(), received_.data(), count);
    received_.erase(0, count);
    other_->unread_ -= count;
    if (std::exchange(other_->wants_room_, false)) {
      End* writer = other_;
      network_->after(latency_ns_, [writer, connection = connection_.lock()] {
        if (!writer->closed_ && writer->owner_ != nullptr) writer->owner_->onWritable(*writer);
      });
    }
    return static_cast<int64_t>(count);
  }
  if (reset_) return -ECONNRESET;
  return fin_received_ ? 0 : -EAGAIN;
}

void End::shutdown() {
  if (fin_sent_ || reset_) return;
  fin_sent_ = true;
  End* to = other_;
  network_->at(last_arrival_ns_ = network_->arrivalOf(*this) + 1, [to, connection = connection_.lock()] {
    if (to->closed_ || to->reset_) return;
    to->fin_received_ = true;
    if (to->owner_ != nullptr) to->owner_->onReadable(*to);
  });
}

void End::close(bool reset) {
  if (closed_) return;
  network_->trace().note("connection %u closes%s", id_, reset ? " with a reset" : "");
  const bool is_rude = reset || !received_.empty();
  if (is_rude) {
    network_->breakEnd(*other_);
  } else {
    shutdown();
  }
  closed_ = true;
  owner_ = nullptr;
  network_->release(*this);
}

}  // namespace plait::sim
