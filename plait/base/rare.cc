#include "plait/base/rare.h"

// The linker says where the section of that name begins and ends; a program without such branches has none.
extern "C" {
[[gnu::weak]] extern plait::RareBranch __start_plait_rare;
[[gnu::weak]] extern plait::RareBranch __stop_plait_rare;
}

namespace plait {

std::span<RareBranch> rareBranches() {
  return {&__start_plait_rare, &__stop_plait_rare};
}

}  // namespace plait
