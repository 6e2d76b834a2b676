#include "plait/control/build_info.h"

#include "plait/commit.h"
#include "plait/version.h"

#define PLAIT_TEXT_OF(macro) PLAIT_QUOTED(macro)
#define PLAIT_QUOTED(text) #text

namespace plait {

const BuildInfo& buildInfo() {
  static constexpr BuildInfo info = {
      .version = PLAIT_VERSION,
      .commit = PLAIT_COMMIT,
      .compiler = "clang " PLAIT_TEXT_OF(__clang_major__) "." PLAIT_TEXT_OF(__clang_minor__) "." PLAIT_TEXT_OF(
          __clang_patchlevel__),
  };
  return info;
}

std::string versionText() {
  const BuildInfo& info = buildInfo();
  std::string text = "plait " + std::string(info.version) + " (";
  if (!info.commit.empty()) text += "commit " + std::string(info.commit) + ", ";
  return text + std::string(info.compiler) + ")";
}

}  // namespace plait
