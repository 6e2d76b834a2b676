// The commit and the compiler that this program was built from.
#pragma once

#include <string>
#include <string_view>

namespace plait {

struct BuildInfo {
  std::string_view version;   // as in "0.1.0"
  std::string_view commit;    // "-dirty" behind it where files differed; empty where it is not known
  std::string_view compiler;  // as in "clang 19.1.7"
};

const BuildInfo& buildInfo();
// For `plait --version`: "plait 0.1.0 (commit 0123456789ab, clang 19.1.7)".
std::string versionText();

}  // namespace plait
