#include "plait/control/cgroup.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace plait {
namespace {

// Calls look(folder, is_v2) for each folder of the groups that have that controller, from the process's own one
// upwards.
template <class Look>
void forEachGroup(const CgroupFiles& files, const std::string& controller, Look look) {
  std::ifstream groups(files.self);
  for (std::string line; std::getline(groups, line);) {
    // HIERARCHY:CONTROLLERS:PATH, where version 2 names no controllers.
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool is_v2 = controllers.empty();
    if (!is_v2 && ("," + controllers + ",").find("," + controller + ",") == std::string::npos) continue;
    const std::string base = is_v2 ? files.root : files.root + "/" + controller;
    // A group is bound by those above it as well. In a container the path may be that of the host: then the root is
    // ours.
    std::string path = line.substr(second + 1);
    while (path.size() > 1) {
      look(base + path, is_v2);
      const size_t slash = path.rfind('/');
      path.resize(slash == path.npos ? 0 : slash);
    }
    look(base, is_v2);
  }
}

template <class T>
void tighten(std::optional<T>& tightest, T limit) {
  tightest = std::min(limit, tightest.value_or(limit));
}

}  // namespace

std::optional<uint64_t> memoryLimit(const CgroupFiles& files) {
  std::optional<uint64_t> tightest;
  forEachGroup(files, "memory", [&](const std::string& folder, bool is_v2) {
    std::ifstream in(folder + (is_v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    uint64_t bytes = 0;
    // "max" is no number; version 1 says a huge one where there is no limit.
    if (in >> bytes && bytes < uint64_t{1} << 60) tighten(tightest, bytes);
  });
  return tightest;
}

std::optional<uint32_t> coreLimit(const CgroupFiles& files) {
  std::optional<uint32_t> tightest;
  forEachGroup(files, "cpu", [&](const std::string& folder, bool is_v2) {
    int64_t quota_us = 0;
    int64_t period_us = 0;
    if (is_v2) {
      std::ifstream in(folder + "/cpu.max");
      in >> quota_us >> period_us;  // "max" is no number
    } else {
      std::ifstream(folder + "/cpu.cfs_quota_us") >> quota_us;  // -1: none
      std::ifstream(folder + "/cpu.cfs_period_us") >> period_us;
    }
    if (quota_us <= 0 || period_us <= 0) return;
    tighten(tightest, static_cast<uint32_t>(std::clamp<int64_t>(quota_us / period_us, 1, UINT16_MAX)));
  });
  return tightest;
}

uint32_t usableCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  const int allowed = ::sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
  const auto count = static_cast<uint32_t>(std::max(allowed, 1));
  return std::min(count, coreLimit().value_or(count));
}

uint64_t machineMemory() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace plait
