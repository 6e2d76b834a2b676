#include "plait/control/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

namespace plait {

std::vector<ConfigError> configure(const Flags& flags, const std::string& file, bool is_demo, Resolver& resolver,
                                   Config& config, LoadedConfig& loaded) {
  std::vector<ConfigError> errors;
  if (!file.empty()) {
    std::error_code ignored;
    if (std::filesystem::is_directory(file, ignored)) return {{{file}, "this is a folder, and no configuration"}};
    std::ifstream in(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in) return {{{file}, "the file cannot be read"}};
    errors = parseConfig(text, file, config);
    // Of broken TOML nothing is known: what else seems wrong would follow from that alone.
    if (config.listeners.empty() && config.backends.empty() && !errors.empty()) return errors;
  }
  const auto append = [&](std::vector<ConfigError> more) { errors.insert(errors.end(), more.begin(), more.end()); };
  append(applyFlags(flags, config));
  if (config.workers == 0) config.workers = usableCores();
  append(completeConfig(config, !is_demo, file));
  append(loadConfig(config, resolver, loaded));
  // Beside mistakes it is one of them; alone it is only said.
  if (!errors.empty()) append(std::exchange(loaded.warnings, {}));
  // In the order of the file, whichever step found them; mistakes in flags come first.
  std::ranges::sort(errors, {},
                    [](const ConfigError& error) { return std::pair(error.place.line, error.place.column); });
  return errors;
}

int refuse(const std::string& sentence) {
  fmt::print(stderr, "plait: {}\n", sentence);
  return 2;
}

int refuse(const std::vector<ConfigError>& errors) {
  // A mistake that has a line in a file begins with it, as those of compilers do, so that editors can jump there.
  for (const ConfigError& error : errors) {
    fmt::print(stderr, "{}{}\n", error.place.line == 0 ? "plait: " : "", error.text());
  }
  return 2;
}

void printMemory(const std::vector<MemoryItem>& memory) {
  for (const MemoryItem& item : memory) {
    if (item.bytes != 0) fmt::print("  {:<26} {:>8.1f} MiB\n", item.name, static_cast<double>(item.bytes) / (1 << 20));
  }
}

int check(const Flags& flags, const std::string& file, bool is_verbose) {
  Resolver resolver;
  Config config;
  LoadedConfig loaded;
  if (const auto errors = configure(flags, file, false, resolver, config, loaded); !errors.empty()) {
    return refuse(errors);
  }
  for (const ConfigError& one : loaded.warnings) {
    if (one.place.line == 0) {
      fmt::print(stderr, "plait: warning: {}\n", one.text());
    } else {
      fmt::print(stderr, "{}: warning: {}\n", one.place.text(), one.sentence);
    }
  }
  fmt::print("{}: ok\n", file.empty() ? "plait" : file);
  if (is_verbose) {
    const auto memory = memoryOf(loaded.options);
    fmt::print("memory: {} MiB for each of {} worker(s), {} for the control thread\n", sumOf(memory) >> 20,
               config.workers, sumOf(memoryOfControl(loaded.options)) >> 20);
    printMemory(memory);
  }
  return 0;
}

}  // namespace plait
