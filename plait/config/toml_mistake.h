// Broken TOML, in words for people who write a configuration by hand.
#pragma once

#include "plait/config/config.h"

namespace plait {

// `place` and `description` are the parser's, of the first fault in `text`. Where a string without quotes is the
// reason, that is said instead, and its place.
ConfigError tomlMistake(std::string_view text, Place place, std::string_view description);

}  // namespace plait
