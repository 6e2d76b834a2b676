#include "plait/client/dialer.h"

#include <cerrno>

namespace plait {

Task<Status> openSocket(const BackendOptions& options, AlpnOffer offer, int64_t connect_ms, UltraSock& sock, Io& io) {
  const TimeNs deadline_ns = io.nowNs() + connect_ms * ns_per_ms;
  ResolveAnswer answer;
  Op resolve;
  resolve.kind = OpKind::resolve;
  Lookup lookup{options.host, options.port, &answer};
  resolve.lookup = &lookup;
  if (const int32_t found = co_await OpAwaiter(resolve, io); found != 0) {
    if (found == -ENOMEM || found == -EAGAIN)
      co_return fail(backendError(ErrorCode::no_memory, "no room is left to look the backend's name up"));
    co_return fail(backendError(ErrorCode::resolve_failed, "the backend's name cannot be resolved"));
  }
  Status status = co_await sock.connect(answer, deadline_ns, io);
  if (!status || options.protocol != BackendProtocol::https) co_return status;
  const std::string& name = options.server_name.empty() ? options.host : options.server_name;
  status = co_await sock.startTls(*options.tls, name, deadline_ns, io, offer);
  if (!status) {
    Error error = status.error();
    error.reach = Reach::backend;
    co_return fail(error);
  }
  co_return Status();
}

Task<Result<Bytes>> awaitSettings(UltraSock& sock, int64_t probe_ms, Io& io) {
  struct Patience {
    UltraSock& sock;
    int64_t probe_ms;
    Io& io;
    Timer timer{this, [](void* self) { static_cast<Patience*>(self)->end(); }};
    void begin() { io.arm(timer, io.nowNs() + probe_ms * ns_per_ms); }
    void end() {
      // An answer that found no buffer is no silence.
      if (sock.tookNoBuffer()) return begin();
      sock.abort(backendError(ErrorCode::http_1_1_required, "no answer to the preface of HTTP/2", probe_silence));
    }
  } patience{.sock = sock, .probe_ms = probe_ms, .io = io};
  patience.begin();
  auto first = co_await sock.recv();
  patience.timer.cancel();
  if (first && !first->empty() && first->front() == 0) co_return *first;
  if (!first && first.error().isOwnShortage()) co_return fail(first.error());
  const bool is_silent = !first && first.error().code == ErrorCode::http_1_1_required;
  if (is_silent) co_return fail(first.error());
  co_return fail(backendError(ErrorCode::http_1_1_required, "the backend does not answer in HTTP/2"));
}

}  // namespace plait
