#include "plait/control/read_config.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace plait {
namespace {

class ReadConfig : public ::testing::Test {
 protected:
  ReadConfig() {
    std::string name = ::testing::TempDir() + "plait[1]-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    std::filesystem::create_directory(folder_ + "/conf.d");
  }
  ~ReadConfig() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ + "/" + name) << text; }
  static std::string backend(const std::string& host) { return "[[backend]]\nurl = \"h2c://" + host + ":1\"\n"; }
  // The mistakes, without the folder, and what the configuration has then.
  std::string read() {
    config_ = {};
    std::string text;
    for (const ConfigError& error : readConfig(folder_ + "/plait.toml", config_)) text += error.text() + '\n';
    for (size_t at = 0; (at = text.find(folder_ + "/")) != text.npos;) text.erase(at, folder_.size() + 1);
    return text;
  }
  std::string backends() const {
    std::string text;
    for (const BackendConfig& one : config_.backends) text += one.name + ' ';
    return text;
  }

  std::string folder_;
  Config config_;
};

TEST_F(ReadConfig, FilesOfAPatternAreAddedByName) {
  write("plait.toml", "include = [\"conf.d/*.toml\", \"last.toml\", \"conf.d/a.toml\"]\n" + backend("first"));
  write("conf.d/b.toml", backend("b"));
  write("conf.d/a.toml", backend("a"));
  write("conf.d/.hidden.toml", backend("hidden"));
  write("conf.d/a.toml~", backend("old"));
  write("last.toml", backend("last"));
  EXPECT_EQ(read(), "");
  EXPECT_EQ(backends(), "first a b last ") << "each once";
  EXPECT_EQ(config_.files.size(), 4u);
}

TEST_F(ReadConfig, TheFileItselfIsNotReadTwice) {
  write("plait.toml", "include = \"*.toml\"\n" + backend("a"));
  EXPECT_EQ(read(), "");
  EXPECT_EQ(backends(), "a ");
}

TEST_F(ReadConfig, MistakesNameTheirFile) {
  write("plait.toml",
        "include = [\"conf.d/*.toml\", \"none.toml\", \"none*.toml\", \"*/x.toml\", \"conf.d\"]\n[limits]\nnone = 1\n");
  write("conf.d/a.toml", "\n[timeouts]\nping_ms = \"x\"\n");
  write("conf.d/b.toml", "include = \"a.toml\"\n[timeouts]\n[limits]\n");
  write("conf.d/c.toml", "x = [\n");
  EXPECT_EQ(read(),
            "plait.toml:1:29: include: there is no file none.toml\n"
            "plait.toml:1:56: include: wildcards are for the names of files, and not for folders\n"
            "plait.toml:1:68: include: conf.d is no file\n"
            "plait.toml:3:1: unknown key \"none\"\n"
            "conf.d/a.toml:3:11: ping_ms: expected a whole number of milliseconds, found a string\n"
            "conf.d/b.toml:1:11: include: this file is included itself, and cannot include others\n"
            "conf.d/b.toml:2:1: [timeouts]: conf.d/a.toml:2:1 has this section already\n"
            "conf.d/b.toml:3:1: [limits]: plait.toml:2:1 has this section already\n"
            "conf.d/c.toml:1:7: array: encountered end-of-file\n");
  EXPECT_TRUE(config_.is_broken);
}

TEST_F(ReadConfig, AFolderThatIsNotThereIsAWarning) {
  write("plait.toml", "include = \"none.d/*.toml\"\n" + backend("a"));
  EXPECT_EQ(read(), "");
  ASSERT_EQ(config_.warnings.size(), 1u);
  EXPECT_EQ(config_.warnings[0].place.line, 1u);
}

TEST_F(ReadConfig, APipeIsNoFile) {
  write("plait.toml", "include = \"conf.d/*\"\n");
  ASSERT_EQ(::mkfifo((folder_ + "/conf.d/pipe").c_str(), 0600), 0);
  EXPECT_EQ(read(), "plait.toml:1:11: include: conf.d/pipe is no file\n");
}

}  // namespace
}  // namespace plait
