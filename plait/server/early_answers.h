// EarlyAnswers: streams of HTTP/2 whose response is complete while their client still sends its request. The client is
// told by RST_STREAM(NO_ERROR) that the rest is not needed (RFC 9113 §8.1). Many clients that find it in the same read
// as the response take the request for failed and lose the status (curl 7.88, git). So it follows after a while, in a
// write of its own, and only where the client has not stopped by itself. Until then the stream gets no credit, and its
// exchange holds no memory but itself.
#pragma once

#include "plait/io/io.h"
#include "plait/server/h2_conversation.h"

namespace plait {

class EarlyAnswers {
 public:
  // How long a client has for stopping by itself, and as long again where its response has not left yet.
  static constexpr int64_t grace_ms = 250;

  // At most so many exchanges wait at once; beyond that the first one is told at once.
  EarlyAnswers(Io& io, size_t most);

  void add(H2Exchange& exchange);
  void remove(H2Exchange& exchange);
  // Makes the exchange that has waited longest end now; false where there is none.
  bool endFirst();
  size_t count() const { return count_; }

 private:
  void onTimer();

  Io& io_;
  const size_t most_;
  size_t count_ = 0;
  List<H2Exchange, &H2Exchange::early_node_> waiting_;  // the first is due first
  Timer timer_;
};

}  // namespace plait
