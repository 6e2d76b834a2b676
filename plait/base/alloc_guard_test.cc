#include "plait/base/alloc_guard.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

namespace plait {
namespace {

using Phase = AllocGuard::Phase;

// The compiler may leave out a pair of malloc and free whose memory nobody looks at.
void* volatile kept = nullptr;

class AllocGuardTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!AllocGuard::isActive()) GTEST_SKIP() << "malloc is not watched in this build";
    AllocGuard::setMode(AllocGuard::Mode::count);
  }
  void TearDown() override { AllocGuard::enter(Phase::init); }
};

TEST_F(AllocGuardTest, CountsWhatAServingThreadAllocates) {
  const uint64_t allocations = AllocGuard::servingAllocations();
  const uint64_t frees = AllocGuard::servingFrees();
  AllocGuard::enter(Phase::serving);
  kept = std::malloc(10);
  std::free(kept);
  kept = std::calloc(10, 10);
  kept = std::realloc(kept, 1000);
  std::free(kept);
  kept = std::aligned_alloc(64, 128);
  std::free(kept);
  kept = new std::string(100, 'x');
  delete static_cast<std::string*>(kept);
  AllocGuard::enter(Phase::init);
  EXPECT_GE(AllocGuard::servingAllocations() - allocations, 6u);
  EXPECT_GE(AllocGuard::servingFrees() - frees, 5u);
}

TEST_F(AllocGuardTest, CountsNothingInTheOtherPhases) {
  const uint64_t before = AllocGuard::servingAllocations();
  for (const Phase phase : {Phase::init, Phase::teardown}) {
    AllocGuard::enter(phase);
    kept = std::malloc(10);
    std::free(kept);
  }
  std::free(nullptr);
  EXPECT_EQ(AllocGuard::servingAllocations(), before);
}

TEST_F(AllocGuardTest, KeepsThreadsApart) {
  const uint64_t before = AllocGuard::servingAllocations();
  AllocGuard::enter(Phase::init);
  std::thread other([] {
    EXPECT_EQ(AllocGuard::phase(), Phase::init);
    AllocGuard::enter(Phase::serving);
    kept = std::malloc(10);
    AllocGuard::enter(Phase::teardown);
    std::free(kept);
  });
  other.join();
  EXPECT_EQ(AllocGuard::phase(), Phase::init);
  EXPECT_EQ(AllocGuard::servingAllocations(), before + 1);
}

TEST_F(AllocGuardTest, CanBePaused) {
  const uint64_t before = AllocGuard::servingAllocations();
  AllocGuard::enter(Phase::serving);
  {
    const AllocGuard::Pause pause;
    kept = std::malloc(10);
    std::free(kept);
  }
  EXPECT_EQ(AllocGuard::phase(), Phase::serving);
  AllocGuard::enter(Phase::init);
  EXPECT_EQ(AllocGuard::servingAllocations(), before);
}

TEST_F(AllocGuardTest, LeavesTheMallocFamilyAsItWas) {
  void* memory = nullptr;
  EXPECT_EQ(::posix_memalign(&memory, 256, 100), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
  std::free(memory);
#if !__has_feature(address_sanitizer)  // which ends the process for that
  size_t volatile odd_alignment = 24;
  EXPECT_EQ(::posix_memalign(&memory, odd_alignment, 100), EINVAL);
#endif
  memory = ::memalign(4096, 10);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 4096, 0u);
  EXPECT_GE(::malloc_usable_size(memory), 10u);
  std::free(memory);
}

using AllocGuardDeathTest = AllocGuardTest;

TEST_F(AllocGuardDeathTest, AbortsWithABacktraceWhereAsked) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      {
        AllocGuard::setMode(AllocGuard::Mode::abort);
        AllocGuard::enter(Phase::serving);
        kept = std::malloc(10);
      },
      "memory was allocated while serving\n.+");
}

TEST_F(AllocGuardDeathTest, AbortsForAFreeToo) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      {
        AllocGuard::setMode(AllocGuard::Mode::abort);
        kept = std::malloc(10);
        AllocGuard::enter(Phase::serving);
        std::free(kept);
      },
      "memory was freed while serving\n.+");
}

}  // namespace
}  // namespace plait
