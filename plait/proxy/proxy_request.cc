#include "plait/proxy/proxy_request.h"

#include "plait/base/rare.h"
#include "plait/net/tls.h"
#include "plait/proxy/route_effects.h"

namespace plait {

TotalTimeout::TotalTimeout(Exchange& exchange, int64_t total_ms, Io& io, http::HeaderSlab& slab, MutableBytes block)
    : exchange_(exchange),
      slab_(slab),
      block_(block),
      timer_(this, [](void* self) { static_cast<TotalTimeout*>(self)->end(); }) {
  by_client_.owner = this;
  by_client_.on_cancel = [](void* self, const Error& error) { static_cast<TotalTimeout*>(self)->token_.cancel(error); };
  exchange.cancelToken().link(by_client_);
  io.arm(timer_, exchange.startedNs() + total_ms * ns_per_ms);
}

TotalTimeout::Pointer TotalTimeout::make(Exchange& exchange, int64_t total_ms, Io& io) {
  http::HeaderSlab& slab = exchange.headerSlab();
  const MutableBytes block = slab.take(sizeof(TotalTimeout));
  if (block.empty()) return {};
  return Pointer(new (block.data()) TotalTimeout(exchange, total_ms, io, slab, block));
}

void TotalTimeout::Deleter::operator()(TotalTimeout* timeout) const {
  http::HeaderSlab& slab = timeout->slab_;
  const MutableBytes block = timeout->block_;
  timeout->~TotalTimeout();
  slab.give(block);
}

TotalTimeout::~TotalTimeout() {
  by_client_.node.unlink();
  timer_.cancel();
}

void TotalTimeout::end() {
  PLAIT_RARE("a request takes longer than its route allows");
  const Error error = streamError(ErrorCode::deadline_exceeded, "the request took longer than its route's total_ms");
  token_.cancel(error);
  if (exchange_.isHeadSent()) exchange_.breakOff(error);
}

namespace {

// A text of the client's certificate, see route::Variables; `certificate` is its TlsSession.
std::optional<size_t> certificateText(const void* session, route::Variable variable, std::span<char> out) {
  const net::ClientCertificate shown = static_cast<const TlsSession*>(session)->clientCertificate();
  const std::string_view text =
      variable == route::Variable::client_cert_subject ? shown.subject(out) : shown.fingerprint(out);
  return text.data() == nullptr ? std::nullopt : std::optional(text.size());
}

}  // namespace

route::Variables ProxyRequest::variables() const {
  route::Variables variables =
      variablesOf(head, asked_authority, asked_path, clientAddress(), exchange.client().scheme(), exchange.requestId());
  if (const TlsSession* const tls = exchange.tls()) {
    variables.tls_server_name = tls->serverName();
    variables.certificate = tls->clientCertificate() ? tls : nullptr;
    variables.make_text = certificateText;
  }
  return variables;
}

}  // namespace plait
