// plait.toml: any text gives a configuration or mistakes, each with a place inside the text and a sentence.
#include "fuzz/target.h"
#include "plait/config/config.h"

using namespace plait;
using namespace plait::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> copy = exact({data, size});
  const std::string_view text = asText(copy);
  const auto lines = static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  Config config;
  std::vector<ConfigError> mistakes = parseConfig(text, "plait.toml", config);
  for (const ConfigError& mistake : mistakes) {
    require(!mistake.sentence.empty() && mistake.place.source == "plait.toml");
    require(mistake.place.line >= 1 && mistake.place.line <= lines + 1);
    require(!mistake.text().empty());
  }
  if (!mistakes.empty()) return 0;
  for (const BackendConfig& backend : config.backends) require(!backend.name.empty() && backend.port != 0);
  mistakes = applyFlags({}, config);
  require(mistakes.empty());
  for (const ConfigError& mistake : completeConfig(config, true, "plait.toml")) require(!mistake.sentence.empty());
  return 0;
}
