#!/usr/bin/env bash
# Which lines of h2/, client/, server/ and proxy/ the simulation reaches: ./dev sim --coverage [RUNS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
runs=${1:-2000}
dir=build/coverage
flags="-O1 -g1 -fprofile-instr-generate -fcoverage-mapping"
cmake -S . -B "$dir" -G Ninja -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="$flags" -DPLAIT_EXAMPLES=OFF > /dev/null
ninja -C "$dir" plait_sim
LLVM_PROFILE_FILE="$dir/sim.profraw" "$dir/plait_sim" --runs "$runs" --check-every 1000000
llvm-profdata-19 merge -sparse "$dir/sim.profraw" -o "$dir/sim.profdata"
# What only a command line, a file or another thread reaches is no part of a worker.
sources=$(git ls-files 'plait/h2/*.cc' 'plait/client/*.cc' 'plait/server/*.cc' plait/proxy/handler.cc plait/proxy/forward.cc \
  plait/proxy/worker_core.cc | grep -v _test.cc | grep -v runtime.cc)
# shellcheck disable=SC2086
llvm-cov-19 report "$dir/plait_sim" -instr-profile="$dir/sim.profdata" -show-functions=false -show-branch-summary=false \
  -show-region-summary=false $sources
# shellcheck disable=SC2086
llvm-cov-19 show "$dir/plait_sim" -instr-profile="$dir/sim.profdata" $sources > "$dir/lines.txt"
echo "each line with its count: $dir/lines.txt"
