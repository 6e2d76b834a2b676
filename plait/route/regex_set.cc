#include "plait/route/regex_set.h"

#include <hs/hs.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "plait/base/assert.h"

namespace plait::route {
namespace {

constexpr unsigned flags = HS_FLAG_DOTALL | HS_FLAG_SINGLEMATCH | HS_FLAG_ALLOWEMPTY;

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}

// The end of the class that begins at `at` with "[": behind its "]".
size_t classEnd(std::string_view text, size_t at) {
  at += 1;
  if (at < text.size() && text[at] == '^') at += 1;
  if (at < text.size() && text[at] == ']') at += 1;
  while (at < text.size() && text[at] != ']') at += text[at] == '\\' ? 2 : 1;
  return at + 1;
}

// The largest number in a repeat {n}, {n,} or {n,m} that begins at `at`; 0 where there is none.
uint64_t repeatAt(std::string_view text, size_t at) {
  uint64_t number = 0;
  uint64_t largest = 0;
  for (size_t i = at + 1; i < text.size() && (isDigit(text[i]) || text[i] == ',' || text[i] == '}'); ++i) {
    if (!isDigit(text[i])) {
      largest = std::max(largest, number);
      number = 0;
      if (text[i] == '}') return largest;
      continue;
    }
    number = std::min<uint64_t>(number * 10 + static_cast<uint64_t>(text[i] - '0'), UINT32_MAX);
  }
  return 0;
}

// The most often that any part of the text is repeated by numbers, nested ones multiplied: those are what compiling
// takes its time and memory for.
uint64_t mostRepeats(std::string_view text) {
  std::vector<uint64_t> outer;  // the most so far in the groups around
  uint64_t most = 1;            // likewise in this group
  uint64_t last = 1;            // in what a repeat here would repeat
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') {
      outer.push_back(most);
      most = last = 1;
    } else if (text[i] == ')' && !outer.empty()) {
      last = most;
      most = std::max(most, outer.back());
      outer.pop_back();
    } else if (text[i] == '{' && repeatAt(text, i) != 0) {
      last = std::min<uint64_t>(last * repeatAt(text, i), UINT32_MAX);
      most = std::max(most, last);
      i = text.find('}', i);
    } else if (std::string_view("*+?").find(text[i]) == std::string_view::npos) {
      last = 1;
      if (text[i] == '[') {
        i = classEnd(text, i) - 1;
      } else if (text[i] == '\\') {
        i += 1;
      }
    }
  }
  return most;
}

// The whole path, whatever the text is: "a|b" included.
std::string anchored(std::string_view text) {
  return "\\A(?:" + std::string(text) + ")\\z";
}

// A phrase out of the compiler's sentence.
std::string phraseOf(const hs_compile_error_t* error) {
  std::string text = error == nullptr ? "no memory" : error->message;
  while (text.ends_with('.')) text.pop_back();
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

int onMatch(unsigned id, unsigned long long, unsigned long long, unsigned, void* context) {
  static_cast<RegexSet::Matches*>(context)->set(id);
  return 0;
}

}  // namespace

RegexScratch::~RegexScratch() {
  hs_free_scratch(scratch_);
}

size_t RegexScratch::bytes() const {
  size_t size = 0;
  if (scratch_ != nullptr) hs_scratch_size(scratch_, &size);
  return size;
}

RegexSet::~RegexSet() {
  hs_free_database(database_);
}

std::string RegexSet::mistakeIn(std::string_view text) {
  if (text.empty()) return "is empty";
  if (text.size() > max_text) return "is longer than " + std::to_string(max_text) + " bytes";
  if (text.find('\0') != std::string_view::npos) return "has a NUL";
  // A quotation without an end would take the anchor for text.
  for (size_t i = text.find('\\'); i != std::string_view::npos; i = text.find('\\', i + 2)) {
    if (i + 1 < text.size() && text[i + 1] == 'Q') return "has \\Q: write a \\ before each byte";
  }
  if (mostRepeats(text) > max_repeat)
    return "repeats more than " + std::to_string(max_repeat) + " times, nested repeats multiplied";
  const std::string copy(text);
  // The text by itself first, so that "a)|(b" cannot step out of its anchors.
  for (const std::string& checked : {copy, anchored(copy)}) {
    hs_expr_info_t* info = nullptr;
    hs_compile_error_t* error = nullptr;
    const hs_error_t code = hs_expression_info(checked.c_str(), flags, &info, &error);
    std::free(info);
    const std::string phrase = code == HS_SUCCESS ? "" : phraseOf(error);
    hs_free_compile_error(error);
    if (!phrase.empty()) return "cannot be used: " + phrase;
  }
  return "";
}

RegexSet::Failure RegexSet::compile(std::vector<std::string> texts) {
  PLAIT_ASSERT(database_ == nullptr);
  if (texts.size() > max_count) return {max_count, "more than " + std::to_string(max_count) + " expressions"};
  texts_ = std::move(texts);
  if (texts_.empty()) return {};
  if (hs_valid_platform() != HS_SUCCESS) return {Failure::all, "need a processor with SSSE3 or its like"};
  std::vector<std::string> anchored_texts;
  std::vector<const char*> pointers;
  std::vector<unsigned> all_flags(texts_.size(), flags);
  std::vector<unsigned> ids;
  for (const std::string& text : texts_) {
    anchored_texts.push_back(anchored(text));
    ids.push_back(static_cast<unsigned>(ids.size()));
  }
  for (const std::string& text : anchored_texts) pointers.push_back(text.c_str());
  hs_compile_error_t* error = nullptr;
  const hs_error_t code =
      hs_compile_multi(pointers.data(), all_flags.data(), ids.data(), static_cast<unsigned>(ids.size()), HS_MODE_BLOCK,
                       nullptr, &database_, &error);
  if (code != HS_SUCCESS) {
    Failure failure;
    if (error != nullptr && error->expression >= 0) failure.index = static_cast<size_t>(error->expression);
    failure.text = "cannot be used: " + phraseOf(error);
    hs_free_compile_error(error);
    return failure;
  }
  hs_database_size(database_, &table_bytes_);
  if (table_bytes_ > max_table_bytes) {
    return {Failure::all, "need tables of " + std::to_string(table_bytes_) + " bytes together, of which there may be " +
                              std::to_string(max_table_bytes)};
  }
  return {};
}

RegexScratch RegexSet::makeScratch() const {
  RegexScratch made;
  if (database_ != nullptr && hs_alloc_scratch(database_, &made.scratch_) != HS_SUCCESS) endForWantOfMemory();
  return made;
}

void RegexSet::match(std::string_view path, const RegexScratch& scratch, Matches& matches) const {
  matches.reset();
  if (database_ == nullptr) return;
  PLAIT_ASSERT(scratch.scratch_ != nullptr);
  const hs_error_t code =
      hs_scan(database_, path.data(), static_cast<unsigned>(path.size()), 0, scratch.scratch_, &onMatch, &matches);
  PLAIT_ASSERT(code == HS_SUCCESS);
}

std::string RegexSet::literalStart(std::string_view text) {
  std::string start;
  // An alternative at the top has no beginning in common with the others.
  size_t depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      i += 1;
      continue;
    }
    if (text[i] == '[') i = classEnd(text, i) - 1;
    if (i >= text.size()) break;
    if (text[i] == '(') depth += 1;
    if (text[i] == ')') depth -= 1;
    if (text[i] == '|' && depth == 0) return start;
  }
  if (text.starts_with('^')) text.remove_prefix(1);
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '\\') {
      if (i + 1 == text.size() || std::ispunct(static_cast<unsigned char>(text[i + 1])) == 0) return start;
      c = text[++i];
    } else if (std::string_view("()[]{}.*+?|^$").find(c) != std::string_view::npos) {
      return start;
    }
    // A byte that may be missing, or be repeated, ends the beginning.
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (next == '*' || next == '?' || next == '{') return start;
    start += c;
    if (next == '+') return start;
  }
  return start;
}

}  // namespace plait::route
