// ./dev sim: runs seeds, and replays one that failed.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>

#include "plait/base/alloc_guard.h"
#include "plait/base/rare.h"
#include "plait/commit.h"
#include "sim/tls_material.h"
#include "sim/world.h"

namespace {

constexpr std::string_view commit = *PLAIT_COMMIT == 0 ? "unknown" : PLAIT_COMMIT;

using namespace plait;
using namespace plait::sim;

struct Options {
  uint64_t seed = 0;
  bool has_seed = false;
  uint64_t first = 1;
  uint64_t runs = 500;
  double minutes = 0;
  bool trace = false;
  size_t last_lines = 60;
  std::string seeds_file;
  uint64_t check_every = 50;
  bool lists_rare = false;
  bool lasts_an_hour = false;
};

struct Totals {
  uint64_t seeds = 0;
  uint64_t requests = 0;
  uint64_t completed = 0;
  uint64_t events = 0;
  double simulated_s = 0;
};

volatile uint64_t present_seed = 0;

const char* programFlag() {
  return tls_is_real ? "--openssl " : "";
}

// An assertion or a wild pointer ends the process: the seed must be known all the same.
void onCrash(int number) {
  char text[160];
  const int size =
      std::snprintf(text, sizeof(text), "\nseed %llu ended by signal %d; replay: ./dev sim %s--seed %llu --trace\n",
                    static_cast<unsigned long long>(present_seed), number, programFlag(),
                    static_cast<unsigned long long>(present_seed));
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, static_cast<size_t>(size));
  ::signal(number, SIG_DFL);
  ::raise(number);
}

// A run that has violated an oracle is left as it is: its coroutines wait for what will not come.
RunResult runSeed(uint64_t seed, const Options& options, bool prints, size_t keeps, std::deque<std::string>* lines) {
  present_seed = seed;
  auto* world = new World(seed, options.lasts_an_hour);
  if (prints) world->trace().print();
  world->trace().keep(keeps);
  const RunResult result = world->run();
  if (lines != nullptr) *lines = world->trace().lines();
  if (prints) fmt::print("\n{}\n", world->describe());
  if (result.violation.empty()) delete world;
  return result;
}

void report(uint64_t seed, const RunResult& result, const Options& options) {
  std::deque<std::string> lines;
  const RunResult again = runSeed(seed, options, false, options.last_lines, &lines);
  fmt::print("\nseed {} at commit {} violates an oracle\n  {}\n\n", seed, commit, result.violation);
  for (const std::string& line : lines) fmt::print("{}\n", line);
  if (again.violation != result.violation) fmt::print("\nand the second run of it says: {}\n", again.violation);
  fmt::print("\nreplay: ./dev sim {}--seed {}{} --trace\n", programFlag(), seed,
             options.lasts_an_hour ? " --hour" : "");
}

// OpenSSL's keys draw random bytes for what they keep at their first use, in whichever run that comes.
void useKeysOnce(const Options& options) {
  static bool are_used = false;
  if (tls_is_real && !std::exchange(are_used, true)) (void)runSeed(1, options, false, 0, nullptr);
}

bool check(uint64_t seed, const Options& options, bool twice, Totals& totals) {
  useKeysOnce(options);
  const RunResult result = runSeed(seed, options, false, 0, nullptr);
  totals.seeds += 1;
  totals.requests += result.requests;
  totals.completed += result.completed;
  totals.events += result.events;
  totals.simulated_s += static_cast<double>(result.simulated_ns) / 1e9;
  if (!result.violation.empty()) {
    report(seed, result, options);
    return false;
  }
  if (twice && runSeed(seed, options, false, 0, nullptr).hash != result.hash) {
    fmt::print("\nseed {} at commit {} ran differently the second time\n", seed, commit);
    return false;
  }
  return true;
}

std::vector<uint64_t> readSeeds(const std::string& file) {
  std::vector<uint64_t> seeds;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    // The text behind a number says what it found.
    if (!line.empty() && line[0] != '#') seeds.push_back(std::stoull(line));
  }
  return seeds;
}

// Which branches that have a name were taken, and how often. False when one was not.
bool listRare() {
  std::vector<const RareBranch*> branches;
  for (const RareBranch& branch : rareBranches()) branches.push_back(&branch);
  std::ranges::sort(branches, {}, [](const RareBranch* branch) {
    return std::pair<std::string_view, std::string_view>(branch->file, branch->name);
  });
  size_t missed = 0;
  for (const RareBranch* branch : branches) {
    const uint64_t taken = branch->taken.load();
    if (taken == 0) missed += 1;
    const std::string_view file = branch->file;
    fmt::print("{:>10}  {:<28} {}\n", taken,
               file.substr(file.find("plait/") == file.npos ? 0 : file.rfind("plait/") + 6), branch->name);
  }
  fmt::print("{} of {} named branches were taken\n", branches.size() - missed, branches.size());
  return missed == 0;
}

int run(const Options& options) {
  if (options.has_seed) {
    const RunResult result = runSeed(options.seed, options, options.trace, 0, nullptr);
    if (!result.violation.empty() && !options.trace) {
      report(options.seed, result, options);
    } else {
      fmt::print("seed {}: {}, {} requests, {} complete, {} events, {:.1f} s simulated, hash {:016x}\n", options.seed,
                 result.violation.empty() ? "well" : result.violation, result.requests, result.completed, result.events,
                 static_cast<double>(result.simulated_ns) / 1e9, result.hash);
    }
    return result.violation.empty() ? 0 : 1;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed_s = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  Totals totals;
  bool is_well = true;
  if (!options.seeds_file.empty()) {
    for (const uint64_t seed : readSeeds(options.seeds_file)) is_well = is_well && check(seed, options, true, totals);
  } else {
    for (uint64_t i = 0; is_well; ++i) {
      if (options.minutes != 0 ? elapsed_s() > options.minutes * 60 : i >= options.runs) break;
      is_well = check(options.first + i, options, i % options.check_every == 0, totals);
    }
  }
  const double seconds = elapsed_s();
  fmt::print("{} seeds, {} requests ({} complete), {} events, {:.1f} hours simulated in {:.1f} s: {:.1f} seeds/s\n",
             totals.seeds, totals.requests, totals.completed, totals.events, totals.simulated_s / 3600, seconds,
             static_cast<double>(totals.seeds) / seconds);
  const bool all_rare = !options.lists_rare || listRare();
  return is_well && all_rare ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Runs the whole proxy in a simulated world, once for each seed.");
  const auto* seed = app.add_option("--seed", options.seed, "Run this seed alone");
  app.add_option("--first", options.first, "The first of the seeds")->capture_default_str();
  app.add_option("--runs", options.runs, "How many seeds")->capture_default_str();
  app.add_option("--minutes", options.minutes, "Run for so long instead");
  app.add_flag("--trace", options.trace, "With --seed: print every step");
  app.add_option("--last", options.last_lines, "Lines of the dialogue that are shown of a failure")
      ->capture_default_str();
  app.add_option("--seeds", options.seeds_file, "Run the seeds of this file, each twice");
  app.add_option("--check-every", options.check_every, "Run every n-th seed twice and compare")->capture_default_str();
  app.add_flag("--rare", options.lists_rare, "Say how often each named branch was taken, and fail if one was not");
  app.add_flag("--hour", options.lasts_an_hour,
               "Streams and tunnels that last an hour, in each run, instead of what the seed would draw");
  CLI11_PARSE(app, argc, argv);
  options.has_seed = seed->count() != 0;
  prepareTls();
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::signal(number, onCrash);
  return run(options);
}
