// Names to addresses, on a thread of its own: c-ares asks for A and AAAA records and knows /etc/hosts; answers are kept
// for their TTL (1 to 300 s). Workers ask by a resolve op and are answered through their mailbox.
#pragma once

#include <memory>
#include <string>

#include "plait/io/backend.h"

namespace plait {

class Resolver final : public ResolveService {
 public:
  Resolver();
  ~Resolver() override;

  // Thread-safe. The op completes with 0, -ENOENT (no such name) or -ETIMEDOUT.
  void resolve(Op& op, Mailbox& mailbox) override;

  // For start-up: waits for the answer, at most a few seconds. The same results.
  int resolveNow(const std::string& host, uint16_t port, ResolveAnswer& answer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plait
