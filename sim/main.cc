// plait_sim: runs seeds, and replays one.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "sim/world.h"

#ifndef PLAIT_COMMIT
#define PLAIT_COMMIT "unknown"
#endif

namespace {

using plait::sim::RunResult;

void printFailure(uint64_t seed, const RunResult& result) {
  std::printf("seed %llu, commit %s: %s\n", static_cast<unsigned long long>(seed), PLAIT_COMMIT,
              result.violation.c_str());
  std::printf("the last events:\n");
  for (const std::string& line : result.last) std::printf("%s\n", line.c_str());
  std::printf("replay it with: ./dev sim --seed %llu --trace\n", static_cast<unsigned long long>(seed));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs the whole proxy with simulated clients, backends and network, from seeds."};
  uint64_t seed = 1;
  uint64_t runs = 1;
  double minutes = 0;
  bool trace = false;
  bool twice = false;
  std::string seeds_file;
  app.add_option("--seed", seed, "the first seed");
  CLI::Option* runs_option = app.add_option("--runs", runs, "how many seeds");
  app.add_option("--minutes", minutes, "instead of --runs: seeds for that long");
  app.add_flag("--trace", trace, "print every event");
  app.add_flag("--twice", twice, "run each seed twice and compare the hashes");
  app.add_option("--seeds", seeds_file, "a file of seeds to run, one a line, # begins a comment");
  CLI11_PARSE(app, argc, argv);

  std::vector<uint64_t> list;
  if (!seeds_file.empty()) {
    std::ifstream file(seeds_file);
    if (!file) {
      std::fprintf(stderr, "plait_sim: --seeds %s cannot be read\n", seeds_file.c_str());
      return 2;
    }
    for (std::string line; std::getline(file, line);) {
      if (!line.empty() && line[0] != '#') list.push_back(std::strtoull(line.c_str(), nullptr, 10));
    }
    runs = list.size();
  }
  if (minutes > 0 && runs_option->count() == 0) runs = UINT64_MAX;

  const auto start = std::chrono::steady_clock::now();
  const auto elapsed_s = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  uint64_t done = 0;
  uint64_t failed = 0;
  RunResult total;
  for (; done < runs && (minutes <= 0 || elapsed_s() < minutes * 60); ++done) {
    const uint64_t own = list.empty() ? seed + done : list[done];
    const RunResult result = plait::sim::runSeed({.seed = own, .prints = trace});
    total.requests += result.requests;
    total.complete += result.complete;
    total.cancelled += result.cancelled;
    total.events += result.events;
    total.retries_unprocessed += result.retries_unprocessed;
    total.retries_unknown += result.retries_unknown;
    if (!result.violation.empty()) {
      failed += 1;
      printFailure(own, result);
      if (failed == 5) break;
    } else if (twice && plait::sim::runSeed({.seed = own}).hash != result.hash) {
      failed += 1;
      std::printf("seed %llu: the second run differs from the first\n", static_cast<unsigned long long>(own));
      if (failed == 5) break;
    }
    std::fflush(stdout);
  }
  std::printf(
      "%llu seeds (%.0f a second), %llu failed; %llu requests: %llu complete, %llu cancelled; retries: %llu "
      "unprocessed, %llu unknown; %llu events\n",
      static_cast<unsigned long long>(done), static_cast<double>(done) / elapsed_s(),
      static_cast<unsigned long long>(failed), static_cast<unsigned long long>(total.requests),
      static_cast<unsigned long long>(total.complete), static_cast<unsigned long long>(total.cancelled),
      static_cast<unsigned long long>(total.retries_unprocessed),
      static_cast<unsigned long long>(total.retries_unknown), static_cast<unsigned long long>(total.events));
  return failed == 0 ? 0 : 1;
}
