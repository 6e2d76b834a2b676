#include "plait/control/read_config.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <tuple>

namespace plait {
namespace {

using FileId = std::pair<dev_t, ino_t>;

// The whole file; empty and `ok` false where it cannot be read.
std::string contentOf(const std::string& file, bool& ok) {
  std::ifstream in(file, std::ios::binary);
  std::string text;
  char buffer[64 << 10];
  while (in.read(buffer, sizeof(buffer)) || in.gcount() != 0) text.append(buffer, static_cast<size_t>(in.gcount()));
  ok = in.eof() && !in.bad();
  return text;
}

// The folder with its slash, and the name in it.
std::pair<std::string, std::string> splitPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? std::pair(std::string(), path)
                            : std::pair(path.substr(0, slash + 1), path.substr(slash + 1));
}

class Includes {
 public:
  Includes(const std::string& file, Config& out, std::vector<ConfigError>& errors)
      : folder_(splitPath(file).first), out_(out), errors_(errors) {
    if (struct stat status{}; ::stat(file.c_str(), &status) == 0) known_.insert({status.st_dev, status.st_ino});
  }

  void readAll() {
    // They stay for those who watch the files.
    const std::vector<Text> patterns = out_.includes;
    for (const Text& pattern : patterns) {
      for (const std::string& file : filesOf(pattern)) read(file, pattern.place);
    }
  }

 private:
  std::vector<std::string> filesOf(const Text& pattern) {
    const auto [folder, name] = splitPath(pattern.value);
    // The folder of the configuration may have any name.
    const std::string_view said = std::string_view(folder).substr(folder.starts_with(folder_) ? folder_.size() : 0);
    if (isPattern(said)) {
      errors_.push_back({pattern.place, "include: wildcards are for the names of files, and not for folders"});
      return {};
    }
    if (!isPattern(name)) return {pattern.value};
    std::vector<std::string> found;
    std::error_code wrong;
    std::filesystem::directory_iterator entries(folder.empty() ? "." : folder, wrong);
    if (wrong) out_.warnings.push_back({pattern.place, fmt::format("include: {}: {}", folder, wrong.message())});
    for (; !wrong && entries != std::filesystem::directory_iterator(); entries.increment(wrong)) {
      std::string one = entries->path().filename().string();
      if (::fnmatch(name.c_str(), one.c_str(), FNM_PERIOD) == 0) found.push_back(folder + one);
    }
    std::ranges::sort(found);
    return found;
  }

  void read(const std::string& file, const Place& place) {
    struct stat status{};
    if (::stat(file.c_str(), &status) != 0)
      return errors_.push_back({place, fmt::format("include: there is no file {}", file)});
    if (!S_ISREG(status.st_mode)) return errors_.push_back({place, fmt::format("include: {} is no file", file)});
    if (!known_.insert({status.st_dev, status.st_ino}).second) return;
    bool ok = false;
    const std::string text = contentOf(file, ok);
    if (!ok) return errors_.push_back({place, fmt::format("include: {} cannot be read", file)});
    out_.files.push_back(file);
    for (ConfigError& error : parseIncluded(text, file, out_)) errors_.push_back(std::move(error));
  }

  const std::string folder_;
  Config& out_;
  std::vector<ConfigError>& errors_;
  std::set<FileId> known_;
};

}  // namespace

bool isPattern(std::string_view name) {
  return name.find_first_of("*?[") != name.npos;
}

std::vector<ConfigError> readConfig(const std::string& file, Config& out) {
  out.files.push_back(file);
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored)) return {{{file}, "this is a folder, and no configuration"}};
  bool ok = false;
  const std::string text = contentOf(file, ok);
  if (!ok) return {{{file}, "the file cannot be read"}};
  std::vector<ConfigError> errors = parseConfig(text, file, out);
  Includes(file, out, errors).readAll();
  sortMistakes(errors, out);
  return errors;
}

void sortMistakes(std::vector<ConfigError>& mistakes, const Config& config) {
  std::ranges::sort(mistakes, {}, [&](const ConfigError& error) {
    // One without a line is of a flag.
    const auto file =
        error.place.line == 0 ? config.files.begin() : std::ranges::find(config.files, error.place.source.text());
    return std::tuple(file - config.files.begin(), error.place.line, error.place.column);
  });
}

}  // namespace plait
