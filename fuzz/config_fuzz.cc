// plait.toml: any text gives a configuration or mistakes, each with a place inside the text and a sentence; and both
// readers of TOML agree.
#include "fuzz/target.h"
#include "plait/config/config.h"
#include "plait/config/toml_tree.h"

using namespace plait;
using namespace plait::fuzz;

namespace {

// toml++ has the members of a table in the order of their keys.
void requireSame(const TomlNode& one, const TomlNode& other) {
  require(one.kind() == other.kind() && one.position() == other.position() && one.size() == other.size());
  require(one.text() == other.text());
  if (one.isInteger() || one.isBoolean()) require(one.integer() == other.integer());
  if (one.isTable()) {
    for (const TomlNode& member : one) {
      const TomlNode* const same = other.member(member.key());
      require(same != nullptr && same->keyPosition() == member.keyPosition());
      requireSame(member, *same);
    }
  } else if (one.isArray()) {
    const TomlNode* same = other.first();
    for (const TomlNode& element : one) {
      requireSame(element, *same);
      same = same->next();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> copy = exact({data, size});
  const std::string_view text = asText(copy);
  const auto lines = static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  // Where the reader of common forms says anything, it says what toml++ says.
  if (const auto quick = TomlTree::read(text)) {
    const auto slow = TomlTree::parseSlowly(text);
    require(slow.has_value());
    requireSame(quick->root(), slow->root());
  }
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
