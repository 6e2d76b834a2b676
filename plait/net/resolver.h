// Names to addresses, on a thread of its own: c-ares asks for A and AAAA records and knows /etc/hosts. Answers are kept
// for their TTL (1 to 300 s), failures for 1 s; questions for a name that is being looked up share the answer.
//
// Results, as op results and of resolveNow:
//   0              `answer` has at least one address, in the order in which to try them
//   -ENOENT        there is no such name, or it has no address
//   -EHOSTUNREACH  the name servers cannot be reached, or refuse or fail to answer
//   -ETIMEDOUT     they did not answer in time
//   -EINVAL        this is no host name
//   -EAGAIN        more than max_waiting questions wait
//   -ECANCELED     the resolver was destroyed
#pragma once

#include <memory>
#include <string_view>

#include "plait/io/backend.h"

namespace plait {

class Resolver final : public ResolveService {
 public:
  static constexpr size_t max_waiting = 4096;
  static constexpr int64_t resolve_now_timeout_ms = 5000;

  Resolver();
  // Completes what still waits with -ECANCELED. Mailboxes and ops that wait must still be there; no call may come
  // later.
  ~Resolver() override;

  // Thread-safe, and allocates nothing on the caller's thread. The host, the answer and `*op.lookup` itself must
  // stay until the op completes; the host may be an address literal.
  void resolve(Op& op, Mailbox& mailbox) override;

  // For start-up: blocks until the answer is there, at most resolve_now_timeout_ms. Returns the result.
  int resolveNow(std::string_view host, uint16_t port, ResolveAnswer& answer);
  // A phrase for the operator: "there is no such name" and so on.
  static const char* describe(int result);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plait
