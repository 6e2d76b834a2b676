// plait's own answers, for requests that get no backend's response.
#pragma once

#include "plait/proxy/forward.h"
#include "plait/proxy/proxy_request.h"

namespace plait {

// The status that tells a client of `error`.
uint16_t statusOf(const Error& error);

// Tells the client that `error` ended its request, if no head was sent yet: 502, 503 or 504 with a sentence;
// REFUSED_STREAM to a client of HTTP/2 whose request was not processed and could not be repeated here, so that it may
// repeat it itself (RFC 9113 §8.7). A response that has begun is visibly broken off. Which endpoint it was, and what
// happened there, is told to trusted peers alone.
void replyToFailure(ProxyRequest& request, const Error& error, const ForwardOptions& options, ConnectionPool& pool);

// The redirection of a route, or of a listener: a status and Location (RFC 9110 §15.4). gRPC gets a grpc-status for it.
void replyRedirect(ProxyRequest& request, uint16_t status, std::string_view location, const ForwardOptions& options);

// The answer that a route has by itself: its status and its body, which may be longer than what the client takes at
// once. `blocks` hold what waits. gRPC gets a grpc-status for it, with a plain text as its message.
Task<void> replyStored(ProxyRequest& request, const ForwardOptions& options, BlockSlab& blocks, Io& io);

// A whole answer of plait's own; the cause's reason is its text. 200 to a request that was for plait: then there is no
// cause, and no text.
void replyWith(ProxyRequest& request, uint16_t status, const Error& cause, const ForwardOptions& options);

}  // namespace plait
