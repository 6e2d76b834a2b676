// The third IoBackend: a worker's sockets, names, clock and randomness, out of the simulated network.
#pragma once

#include <deque>
#include <functional>

#include "plait/io/backend.h"
#include "sim/network.h"

namespace plait::sim {

// Names in the simulation: "backend-N", which is port 9000 + N.
constexpr uint16_t first_backend_port = 9000;
constexpr uint16_t proxy_port = 8080;

class SimBackend final : public IoBackend, private Acceptor, private EndOwner {
 public:
  // `wake` is called when a turn is due, at once or at the time it is given.
  SimBackend(Network& network, BufferPool& buffers, std::function<void()> on_work);
  ~SimBackend() override;

  void submit(Op& op) override;
  void cancel(Op& op) override;
  size_t poll(TimeNs until_ns, std::span<Completion> completions) override;
  TimeNs now() override { return network_.now() + skew_ns_; }
  uint64_t entropy() override { return network_.random().next(); }

  // Completes a message op, as another thread's Mailbox::post() would.
  void post(Op& op);
  // Something to deliver, or the time that the last poll asked to be woken at has come.
  bool isDue() const { return hasWork() || wake_ns_ <= network_.now() + skew_ns_; }
  bool hasWork() const { return !finished_.empty() || !ready_.empty(); }
  // The time at which the worker wants a turn without being asked, on the network's clock.
  TimeNs wakeTime() const { return wake_ns_ == never_ns ? never_ns : wake_ns_ - skew_ns_; }
  // The worker's clock jumps ahead.
  void jump(TimeNs by_ns) { skew_ns_ += by_ns; }
  size_t openDescriptors() const { return open_; }
  size_t armedOps() const { return armed_; }

 private:
  struct Descriptor {
    enum class Kind : uint8_t { free, listener, stream } kind = Kind::free;
    End* end = nullptr;
    Op* reader = nullptr;  // accept or recv
    Op* writer = nullptr;  // send
    uint16_t port = 0;
    std::deque<End*> waiting;  // to be accepted
    bool queued = false;
  };
  struct Connecting {
    std::shared_ptr<bool> cancelled;
  };

  bool onConnection(End& end) override;
  void onReadable(End& end) override;
  void onWritable(End& end) override;
  int open(Descriptor::Kind kind);
  int descriptorOf(const End& end) const;
  void arm(Op& op);
  void finish(Op& op, int32_t result);
  void enqueue(int fd);
  void runSynchronous(Op& op);
  void startConnect(Op& op);
  void startResolve(Op& op);
  bool tryRead(int fd, Completion& completion);
  bool tryRecv(Descriptor& descriptor, Op& op, Completion& completion);
  bool tryAccept(Descriptor& descriptor, Op& op, Completion& completion);
  bool trySend(Descriptor& descriptor, Completion& completion);
  int adopt(End& end);

  Network& network_;
  BufferPool& buffers_;
  std::function<void()> on_work_;
  std::deque<Descriptor> descriptors_;
  std::map<const End*, int> by_end_;
  std::map<Op*, Connecting> connecting_;
  std::deque<Completion> finished_;
  std::vector<int> ready_;
  std::shared_ptr<bool> is_gone_ = std::make_shared<bool>(false);
  TimeNs skew_ns_ = 0;
  TimeNs wake_ns_ = 0;
  size_t open_ = 0;
  size_t armed_ = 0;
};

}  // namespace plait::sim
