#include "plait/control/cgroup.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace plait {
namespace {

class ControlGroups : public testing::Test {
 protected:
  ControlGroups() {
    std::string pattern = (std::filesystem::temp_directory_path() / "plait-cgroup-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~ControlGroups() override { std::filesystem::remove_all(root_); }
  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  CgroupFiles files() const { return {root_ / "fs", root_ / "self"}; }
  std::optional<uint64_t> limit() const { return memoryLimit(files()); }
  std::optional<uint32_t> cores() const { return coreLimit(files()); }
  std::filesystem::path root_;
};

TEST_F(ControlGroups, TheMemoryLimitIsTheTightestOfTheGroupAndThoseAboveIt) {
  write("self", "0::/a/b\n");
  write("fs/a/b/memory.max", "max\n");
  EXPECT_EQ(limit(), std::nullopt);
  write("fs/a/memory.max", "1073741824\n");
  EXPECT_EQ(limit(), 1u << 30);
  write("fs/a/b/memory.max", "4096\n");
  EXPECT_EQ(limit(), 4096u);
}

TEST_F(ControlGroups, TheMemoryLimitOfTheFirstVersionIsReadToo) {
  write("self", "9:name=systemd:/\n4:cpu,memory:/x\n3:cpuset:/\n0::/\n");
  write("fs/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(limit(), std::nullopt) << "no limit is a huge number there";
  write("fs/memory/x/memory.limit_in_bytes", "8192\n");
  EXPECT_EQ(limit(), 8192u);
}

TEST_F(ControlGroups, TheMemoryLimitOfAContainerThatSeesTheHostsPathIsThatOfTheRoot) {
  write("self", "0::/host/path\nrubbish\n");
  write("fs/memory.max", "5000\n");
  EXPECT_EQ(limit(), 5000u);
}

TEST_F(ControlGroups, TheMemoryLimitIsNoneWhereThereAreNoGroups) {
  EXPECT_EQ(limit(), std::nullopt);
}

TEST_F(ControlGroups, TheCoresAreTheTightestQuotaInWholeOnes) {
  write("self", "0::/a/b\n");
  EXPECT_EQ(cores(), std::nullopt);
  write("fs/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(cores(), std::nullopt);
  write("fs/a/cpu.max", "350000 100000\n");
  EXPECT_EQ(cores(), 3u);
  write("fs/a/b/cpu.max", "50000 100000\n");
  EXPECT_EQ(cores(), 1u) << "half a core is one worker";
}

TEST_F(ControlGroups, TheCoresOfTheFirstVersionAreReadToo) {
  write("self", "4:cpu,cpuacct:/x\n");
  write("fs/cpu/cpu.cfs_quota_us", "-1\n");
  write("fs/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cores(), std::nullopt);
  write("fs/cpu/x/cpu.cfs_quota_us", "200000\n");
  write("fs/cpu/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cores(), 2u);
}

TEST(Machine, HasACoreAndMemory) {
  EXPECT_GE(usableCores(), 1u);
  EXPECT_GT(machineMemory(), uint64_t{64} << 20);
}

}  // namespace
}  // namespace plait
