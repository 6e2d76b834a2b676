#include "plait/proxy/worker_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace plait {
namespace {

class MemoryLimit : public testing::Test {
 protected:
  MemoryLimit() {
    std::string pattern = (std::filesystem::temp_directory_path() / "plait-cgroup-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~MemoryLimit() override { std::filesystem::remove_all(root_); }
  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  std::optional<uint64_t> limit() { return memoryLimit(root_ / "fs", root_ / "self"); }
  std::filesystem::path root_;
};

TEST_F(MemoryLimit, IsTheTightestOfTheGroupAndThoseAboveIt) {
  write("self", "0::/a/b\n");
  write("fs/a/b/memory.max", "max\n");
  EXPECT_EQ(limit(), std::nullopt);
  write("fs/a/memory.max", "1073741824\n");
  EXPECT_EQ(limit(), 1u << 30);
  write("fs/a/b/memory.max", "4096\n");
  EXPECT_EQ(limit(), 4096u);
}

TEST_F(MemoryLimit, OfTheFirstVersionIsReadToo) {
  write("self", "9:name=systemd:/\n4:cpu,memory:/x\n3:cpuset:/\n0::/\n");
  write("fs/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(limit(), std::nullopt) << "no limit is a huge number there";
  write("fs/memory/x/memory.limit_in_bytes", "8192\n");
  EXPECT_EQ(limit(), 8192u);
}

TEST_F(MemoryLimit, OfAContainerThatSeesTheHostsPathIsThatOfTheRoot) {
  write("self", "0::/host/path\nrubbish\n");
  write("fs/memory.max", "5000\n");
  EXPECT_EQ(limit(), 5000u);
}

TEST_F(MemoryLimit, IsNoneWhereThereAreNoGroups) {
  EXPECT_EQ(limit(), std::nullopt);
}

TEST(MemorySum, FollowsTheLimitsAndWhatIsUsed) {
  WorkerOptions options;
  const uint64_t bare = sumOf(memoryOf(options));
  EXPECT_GT(bare, 500u << 20);
  options.has_access_log = true;
  EXPECT_EQ(sumOf(memoryOf(options)), bare + options.limits.access_ring_bytes);
  options.backends.emplace_back();
  const uint64_t plain = sumOf(memoryOf(options));
  EXPECT_GT(plain, bare + options.limits.access_ring_bytes);
  EXPECT_EQ(tlsArenaBytes(options), 0u) << "nobody speaks TLS";
  options.limits.exchanges /= 2;
  EXPECT_LT(sumOf(memoryOf(options)), plain - (100u << 20));
}

}  // namespace
}  // namespace plait
