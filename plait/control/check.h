// What is wrong with what the operator asks for, found and said in one way by a start and by `plait check`.
#pragma once

#include <string>
#include <vector>

#include "plait/control/load.h"

namespace plait {

// Reads flags and file (which may have no name) into `config`, and what the workers need into `loaded`; every mistake
// of both, in the order of the file.
std::vector<ConfigError> configure(const Flags& flags, const std::string& file, bool is_demo, Resolver& resolver,
                                   Config& config, LoadedConfig& loaded);

// Mistakes of the operator's: one line each on standard error. Returns the exit code, which is 2.
int refuse(const std::string& sentence);
int refuse(const std::vector<ConfigError>& errors);

// How the memory adds up, on standard output.
void printMemory(const std::vector<MemoryItem>& memory);

// plait check: says on standard output and standard error what a start would find. Addresses are bound for a moment,
// and nothing listens. A port that is in use is a warning alone, as it may be that of the plait that runs. Returns the
// exit code.
int check(const Flags& flags, const std::string& file, bool is_verbose);

}  // namespace plait
