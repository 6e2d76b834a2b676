// The simulated kernel of one worker: an IoBackend over the simulated network. It never waits: a poll without
// completions notes until when the worker would sleep, and the worker is given its next turn when something has
// happened or that time has come. Where the real backends differ from each other (when a send is tried, what comes
// after a cancel, how long a stream op lasts) the seed chooses.
#pragma once

#include <map>

#include "plait/io/backend.h"
#include "sim/network.h"

namespace plait::sim {

// The addresses of names, and how long it takes to look them up.
class Names {
 public:
  explicit Names(Simulation& simulation) : sim(simulation) {}
  void add(std::string host, uint32_t address) { addresses_[std::move(host)].push_back(address); }
  // 0 or -errno, as the resolver's results.
  int answer(std::string_view host, uint16_t port, ResolveAnswer& out) const;
  TimeNs delay();

  Simulation& sim;

 private:
  std::map<std::string, std::vector<uint32_t>, std::less<>> addresses_;
};

class Kernel final : public IoBackend {
 public:
  Kernel(Network& network, Names& names, BufferPool& buffers, uint32_t host, std::string actor);
  ~Kernel() override = default;

  void submit(Op& op) override;
  void cancel(Op& op) override;
  size_t poll(TimeNs until_ns, TimeNs gather_ns, std::span<Completion> completions) override;
  TimeNs now() override { return sim.now(); }
  // A turn takes no time here; a worker that always seems half busy gathers where its limits say so.
  TimeNs threadCpu() override { return now() / 2; }
  int64_t epochSeconds() override { return 784'111'777 + now() / ns_per_s; }
  uint64_t entropy() override { return sim.draw(); }

  // Completes an armed message.
  void post(Op& op, int32_t result);
  // Called when there may be something for a worker that sleeps.
  std::function<void()> wake;
  // How much later than that it may be woken.
  TimeNs gathers() const { return gather_ns_; }
  // The last poll found nothing: the worker sleeps until that time.
  bool isAsleep() const { return asleep_; }
  TimeNs sleepsUntil() const { return until_ns_; }
  size_t openDescriptors() const;
  // Oracle: each descriptor that is open, in words.
  std::string describe() const;

  Simulation& sim;
  // Descriptors that the process may have.
  uint32_t max_descriptors = 1024;

 private:
  struct Descriptor {
    Socket* socket = nullptr;
    std::unique_ptr<Listener> listener;
    Op* reader = nullptr;  // accept or recv
    Op* writer = nullptr;  // connect or send
    bool queued = false;
    bool is_connected = false;  // from here, to a backend
    bool is_short = false;      // a listener for whose client there was no descriptor
    TimeNs alerted_ns = 0;      // when a fatal alert of TLS was sent; 0 for never
    bool isOpen() const { return socket != nullptr || listener != nullptr; }
  };
  static constexpr int first_descriptor = 3;

  Descriptor& at(int fd);
  int takeDescriptor();
  void enqueue(int fd);
  void finish(const Completion& completion);
  void checkAlert(const Descriptor& descriptor, int fd);
  void cancelNow(Op& op);
  void runSynchronous(Op& op);
  int accept(Descriptor& descriptor);
  void startConnect(Op& op);
  void startResolve(Op& op);
  // Each returns whether it made a completion.
  bool trySend(Descriptor& descriptor, Completion& completion);
  bool tryAccept(Descriptor& descriptor, Completion& completion);
  bool tryRecv(Descriptor& descriptor, Completion& completion);

  Network& network_;
  Names& names_;
  BufferPool& buffers_;
  uint32_t host_;
  uint16_t next_port_ = 10'000;
  std::string actor_;
  std::deque<Descriptor> descriptors_;  // stay where they are
  std::deque<int> pending_;
  std::deque<Completion> finished_;
  std::vector<Op*> cancels_;
  bool asleep_ = false;
  TimeNs until_ns_ = 0;
  TimeNs gather_ns_ = 0;
};

}  // namespace plait::sim
