// 100 requests at once over one connection, without a proxy: plait's pool inside another program.
//
//   embed_pool HOST PORT [REQUESTS]
#include <cstdio>
#include <cstdlib>
#include <map>

#include "plait/plait.h"

using namespace plait;

struct Tally {
  std::map<int, int> statuses;
  int failed = 0;
  size_t bytes = 0;
};

Task<void> fetch(ConnectionPool& pool, Tally& tally, Io& io) {
  auto lease = co_await pool.getOrCreate(pool.endpoint(0), io);
  if (!lease) {
    tally.failed += 1;
    co_return;
  }
  auto response = co_await lease->request("GET", "/hello", "localhost", nullptr, io);
  pool.release(*lease, response || !response.error().reachesConnection(), io);
  if (!response) {
    tally.failed += 1;
    co_return;
  }
  tally.statuses[response->status()] += 1;
  for (auto bytes = co_await response->read(io); bytes && !bytes->empty(); bytes = co_await response->read(io)) {
    tally.bytes += bytes->size();
  }
}

Task<void> fetchAll(ConnectionPool& pool, int requests, Tally& tally, Io& io) {
  Scope scope;
  for (int i = 0; i < requests; ++i) scope.spawn(fetch(pool, tally, io), io);
  co_await scope.join();
  co_await pool.close(io);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: embed_pool HOST PORT [REQUESTS]\n");
    return 2;
  }
  const int requests = argc > 3 ? std::atoi(argv[3]) : 100;
  auto runtime = Runtime::make();
  if (!runtime) {
    std::fprintf(stderr, "embed_pool: %s\n", runtime.error().reason);
    return 1;
  }
  BackendOptions backend{.name = "origin",
                         .protocol = BackendProtocol::h2c,
                         .host = argv[1],
                         .port = static_cast<uint16_t>(std::atoi(argv[2])),
                         .server_name = "",
                         .tls = nullptr};
  auto pool = (*runtime)->makePool({backend}, {}, {.h2_connections_per_backend = 1});
  Tally tally;
  (*runtime)->run(fetchAll(*pool, requests, tally, (*runtime)->io()));
  for (const auto& [status, count] : tally.statuses) std::printf("status %d: %d\n", status, count);
  std::printf("failed: %d\nbytes: %zu\nconnections: %llu\n", tally.failed, tally.bytes,
              static_cast<unsigned long long>(pool->counters().connects));
  return tally.failed == 0 ? 0 : 1;
}
