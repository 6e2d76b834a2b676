// The simulated network: one clock, one queue of events, and byte streams between two ends with latency, limited
// buffers, pieces, resets and half-closes. Everything random comes from the run's seed.
//
//   end.write() → [ flying ] → after the link's latency → [ received ] → end.read()
//
// What is flying and what is received and not read together fill the direction's capacity, as a window does.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <tuple>
#include <vector>

#include "plait/base/bytes.h"
#include "sim/faults.h"
#include "sim/trace.h"

namespace plait::sim {

class Network;
class End;

// Whoever holds one end. Called from the event loop, never from inside a call to the end.
class EndOwner {
 public:
  virtual void onReadable(End& end) = 0;  // bytes, the end of the stream, or a reset
  virtual void onWritable(End& end) = 0;

 protected:
  ~EndOwner() = default;
};

class End {
 public:
  void setOwner(EndOwner* owner) { owner_ = owner; }
  uint32_t connectionId() const { return id_; }
  bool isOpen() const { return !closed_; }

  // Takes as much as there is room for; 0 when there is none. -ECONNRESET or -EPIPE when nobody can get it any more.
  int64_t write(Bytes bytes);
  // What has arrived, at most bytes.size(). 0: the end of the stream; -EAGAIN: nothing yet; -ECONNRESET.
  int64_t read(MutableBytes bytes);
  bool isReadable() const { return !received_.empty() || fin_received_ || reset_; }
  // FIN behind what was written.
  void shutdown();
  // FIN, or RST where asked for or where received bytes were not read, as TCP does. The end is gone for its owner.
  void close(bool reset);

 private:
  friend class Network;
  Network* network_ = nullptr;
  End* other_ = nullptr;
  std::weak_ptr<void> connection_;
  EndOwner* owner_ = nullptr;
  uint32_t id_ = 0;
  TimeNs latency_ns_ = 0;
  TimeNs last_arrival_ns_ = 0;  // at the other end: segments do not overtake each other
  size_t capacity_ = 0;         // of the direction that begins here
  size_t unread_ = 0;           // bytes of it that the other end has not read
  std::string received_;
  bool wants_room_ = false;
  bool fin_sent_ = false;
  bool fin_received_ = false;
  bool reset_ = false;
  bool closed_ = false;
};

// Where connections arrive: a port of a backend, or of a worker.
class Acceptor {
 public:
  // False: the queue is full, the SYN is lost and sent again later.
  virtual bool onConnection(End& end) = 0;

 protected:
  ~Acceptor() = default;
};

class Network {
 public:
  Network(uint64_t seed, bool prints);

  TimeNs now() const { return now_ns_; }
  Random& random() { return random_; }
  Faults& faults() { return faults_; }
  // All faults off, for connections that are open as well.
  void quieten();
  bool happens(Fault fault) { return faults_.happens(fault, random_); }
  Trace& trace() { return trace_; }

  // Events of the same time come in an order that the seed draws.
  void at(TimeNs time_ns, std::function<void()> event);
  void after(TimeNs delay_ns, std::function<void()> event) { at(now_ns_ + delay_ns, std::move(event)); }
  // The next event's time; never_ns when there is none.
  TimeNs nextTime() const { return events_.empty() ? never_ns : events_.top().time_ns; }
  void runNext();

  // Several may listen on a port; who gets a connection is drawn.
  void listen(uint16_t port, Acceptor& acceptor);
  void unlisten(uint16_t port, Acceptor& acceptor);
  // `done` gets the new end, or -errno; not before this returns. The token cancels: set it to true.
  void connect(uint16_t port, std::shared_ptr<bool> cancelled, std::function<void(End*, int)> done);
  size_t openEnds() const { return open_ends_; }

 private:
  friend class End;
  struct Event {
    TimeNs time_ns;
    uint64_t tie;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Event& other) const {
      return std::tie(time_ns, tie, order) > std::tie(other.time_ns, other.tie, other.order);
    }
  };
  struct Connection {
    End ends[2];
  };
  void knock(uint16_t port, std::shared_ptr<bool> cancelled, std::function<void(End*, int)> done, int tries);
  TimeNs arrivalOf(End& from);
  void deliver(End& from, std::string bytes);
  void breakEnd(End& end);  // it finds a reset, after the latency
  void release(const End& end);

  Random random_;
  Faults faults_;
  Trace trace_;
  TimeNs now_ns_;
  uint64_t order_ = 0;
  uint32_t next_id_ = 1;
  size_t open_ends_ = 0;
  std::map<uint32_t, std::shared_ptr<Connection>> connections_;  // as long as an end is open
  std::priority_queue<Event> events_;
  std::map<uint16_t, std::vector<Acceptor*>> acceptors_;
};

}  // namespace plait::sim
