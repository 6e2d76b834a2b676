// The expressions of all routes in one vectorscan database. An expression matches a whole path, as a reading gives it
// (path_readings.h), byte by byte: "." is any byte. Perl's syntax without captures, back-references and look-around.
//
// A database is compiled off the request path, which takes memory and time, and is immutable then. A scan calls no
// malloc: it works in a RegexScratch that was made before.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct hs_database;
struct hs_scratch;

namespace plait::route {

// Memory for one scan at a time over one RegexSet: a worker's own.
class RegexScratch {
 public:
  RegexScratch() = default;
  RegexScratch(RegexScratch&& other) noexcept : scratch_(std::exchange(other.scratch_, nullptr)) {}
  RegexScratch& operator=(RegexScratch&& other) noexcept {
    std::swap(scratch_, other.scratch_);
    return *this;
  }
  ~RegexScratch();
  size_t bytes() const;

 private:
  friend class RegexSet;
  hs_scratch* scratch_ = nullptr;
};

class RegexSet {
 public:
  static constexpr size_t max_text = 512;
  static constexpr uint32_t max_repeat = 256;  // nested ones multiplied
  static constexpr size_t max_count = 4096;
  static constexpr size_t max_table_bytes = 8 * 1024 * 1024;
  using Matches = std::bitset<max_count>;

  RegexSet() = default;
  RegexSet(const RegexSet&) = delete;
  RegexSet& operator=(const RegexSet&) = delete;
  ~RegexSet();

  // What is wrong with one expression, as a phrase; empty if nothing.
  static std::string mistakeIn(std::string_view text);

  struct Failure {
    static constexpr size_t all = SIZE_MAX;
    size_t index = all;  // of the expression that it is about
    std::string text;    // a phrase; empty: there is no failure
  };
  // Compiles expressions that mistakeIn() has found right. Their indexes are those of Matches.
  Failure compile(std::vector<std::string> texts);

  std::span<const std::string> texts() const { return texts_; }
  // Of the database's tables.
  size_t bytes() const { return table_bytes_; }
  // Empty where the set has no expression. Ends the process where the system gives no memory, as operator new does.
  RegexScratch makeScratch() const;

  // Sets the bit of each expression that matches all of `path`. `scratch` is of this set.
  void match(std::string_view path, const RegexScratch& scratch, Matches& matches) const;

  // The bytes that every path which matches begins with, as far as the text tells easily. Two expressions whose
  // beginnings differ never match one path.
  static std::string literalStart(std::string_view text);

 private:
  std::vector<std::string> texts_;
  hs_database* database_ = nullptr;
  size_t table_bytes_ = 0;
};

}  // namespace plait::route
