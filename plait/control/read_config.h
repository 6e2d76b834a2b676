// Reads the configuration's file and those that it includes.
#pragma once

#include <string>
#include <vector>

#include "plait/config/config.h"

namespace plait {

// Adds to `out` what `file` says, and the files that it includes: those of each name or pattern in their order, of one
// pattern by name. Every mistake that can be found, each with its file and line. A file that several patterns match is
// read once, and `file` itself only as what it is.
std::vector<ConfigError> readConfig(const std::string& file, Config& out);

// Mistakes in the order of the files and their lines, those of flags first.
void sortMistakes(std::vector<ConfigError>& mistakes, const Config& config);

// Whether the name of a file stands for several, as in "*.toml".
bool isPattern(std::string_view name);

}  // namespace plait
