#include "plait/proxy/demo.h"

#include <cstdio>

namespace plait {

Task<void> DemoHandler::handle(Exchange& exchange, Io&) {
  const http::RequestHead& request = exchange.request();
  char text[256];
  const int size = std::snprintf(text, sizeof(text), "hello from plait's demo origin: %.*s %.*s\n",
                                 static_cast<int>(std::min<size_t>(request.method.size(), 32)), request.method.data(),
                                 static_cast<int>(std::min<size_t>(request.path.size(), 128)), request.path.data());
  exchange.respond(200, "text/plain; charset=utf-8", {text, static_cast<size_t>(size)});
  if (http::Pipe* body = exchange.requestBody()) {
    body->cancel(streamError(ErrorCode::cancelled, "the demo origin reads no bodies"));
  }
  exchange.end();
  co_return;
}

}  // namespace plait
