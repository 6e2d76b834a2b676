// The origin behind `plait demo`: something to put plait in front of. It answers every request with a line of text that
// names the request, over HTTP/1.1 and h2c.
#pragma once

#include "plait/server/exchange.h"

namespace plait {

class DemoHandler final : public Handler {
 public:
  Task<void> handle(Exchange& exchange, Io& io) override;
};

}  // namespace plait
