// A program outside this tree: it sees the installed headers and library alone.
#include <plait/plait.h>

#include <cstdio>
#include <string_view>

static_assert(std::string_view(PLAIT_VERSION) == PACKAGE_VERSION, "the headers are of the package's version");

plait::Task<void> ask(plait::ConnectionPool& pool, bool& was_refused, plait::Io& io) {
  auto lease = co_await pool.getOrCreate(pool.endpoint(0), io);
  was_refused = !lease && lease.error().code == plait::ErrorCode::connect_failed;
  if (lease) pool.release(*lease, true, io);
  co_await pool.close(io);
}

int main() {
  auto runtime = plait::Runtime::make();
  if (!runtime) return 1;
  // Port 1 of the loopback: nobody listens there.
  plait::BackendOptions nobody;
  nobody.host = "127.0.0.1";
  nobody.port = 1;
  auto pool = (*runtime)->makePool({nobody});
  bool was_refused = false;
  (*runtime)->run(ask(*pool, was_refused, (*runtime)->io()));
  std::puts(was_refused ? "refused" : "unexpected");
  return was_refused ? 0 : 1;
}
