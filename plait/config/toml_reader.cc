// The reader of TOML's common forms: headers and keys of bare words, strings of one line, decimal numbers, truth
// values, lists, and inline tables. It gives up where it meets anything else, and where anything could be wrong.
#include <cstring>

#include "plait/config/toml_tree.h"

namespace plait {
namespace {

bool isBare(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}
bool isBlank(char c) {
  return c == ' ' || c == '\t';
}
// Which may stand neither in a string nor in a comment.
bool isControl(char c) {
  return (static_cast<uint8_t>(c) < 0x20 && c != '\t') || c == 0x7f;
}

// Well-formed UTF-8 (RFC 3629 §4).
bool isUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  for (size_t i = 0; i < text.size();) {
    if (uint64_t word; i + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + i, sizeof(word));
      if ((word & 0x8080808080808080) == 0) {
        i += sizeof(word);
        continue;
      }
    }
    const uint8_t lead = byte(i);
    const size_t size = lead < 0x80                   ? 1
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
    if (size == 0) return false;
    for (size_t k = 1; k < size; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    }
    const uint8_t second = byte(i + 1);
    // Longer than needed, surrogates, beyond the last code point.
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second >= 0xa0) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second >= 0x90))
      return false;
    i += size;
  }
  return true;
}

}  // namespace

class TomlReader {
 public:
  TomlReader(std::string_view text, TomlTree& tree)
      : at_(text.data()), end_(at_ + text.size()), line_begin_(at_), tree_(tree), table_(tree.root_) {}

  bool run() {
    while (at_ != end_) {
      skipBlanks();
      if (at_ == end_) break;
      const char c = *at_;
      const bool is_good = c == '\n' || c == '\r' || c == '#' ? true : c == '[' ? header() : member(*table_);
      if (!is_good || !endLine()) return false;
    }
    return true;
  }

 private:
  using Kind = TomlNode::Kind;
  // Of more members than this a search would take long.
  static constexpr uint32_t most_members = 256;
  static constexpr uint32_t most_depth = 32;
  static constexpr ptrdiff_t most_digits = 18;

  char peek() const { return at_ == end_ ? '\0' : *at_; }
  bool take(char c) {
    if (peek() != c || at_ == end_) return false;
    ++at_;
    return true;
  }
  void skipBlanks() {
    while (at_ != end_ && isBlank(*at_)) ++at_;
  }
  TomlPosition position() const {
    uint32_t column = 1;
    for (const char* i = line_begin_; i != at_; ++i) column += (static_cast<uint8_t>(*i) & 0xc0) != 0x80;
    return {line_, column};
  }
  bool newLine() {
    take('\r');
    if (!take('\n')) return false;
    line_ += 1;
    line_begin_ = at_;
    return true;
  }
  bool comment() {
    while (at_ != end_ && *at_ != '\n' && *at_ != '\r') {
      if (isControl(*at_)) return false;
      ++at_;
    }
    return true;
  }
  // Space and a comment may follow a header or a value, up to the next line.
  bool endLine() {
    skipBlanks();
    if (peek() == '#' && !comment()) return false;
    return at_ == end_ || newLine();
  }

  bool bareWord(std::string_view& out) {
    const char* const begin = at_;
    while (at_ != end_ && isBare(*at_)) ++at_;
    out = {begin, static_cast<size_t>(at_ - begin)};
    return !out.empty();
  }

  static TomlNode* find(TomlNode& table, std::string_view key) {
    for (TomlNode* one = table.children_.first; one != nullptr; one = one->next_) {
      if (one->key_ == key) return one;
    }
    return nullptr;
  }
  TomlNode* addMember(TomlNode& table, Kind kind, std::string_view key, TomlPosition key_position,
                      TomlPosition position) {
    if (table.size_ >= most_members) return nullptr;
    TomlNode* const made = tree_.make(kind, position);
    made->key_ = key;
    made->key_position_ = key_position;
    TomlTree::add(table, *made);
    return made;
  }

  // [name] or [[name]], where a name may have several words with points in between.
  bool header() {
    const TomlPosition begin = position();
    ++at_;
    const bool is_array = take('[');
    TomlNode* table = tree_.root_;
    while (true) {
      const TomlPosition key_position = position();
      std::string_view word;
      if (!bareWord(word)) return false;
      TomlNode* known = find(*table, word);
      if (!take('.')) {
        if (!take(']') || (is_array && !take(']'))) return false;
        return is_array ? open(*table, known, word, key_position, begin)
                        : openOnce(*table, known, word, key_position, begin);
      }
      if (known == nullptr) {
        known = addMember(*table, Kind::table, word, key_position, begin);
        if (known == nullptr) return false;
        known->is_implicit_ = true;
      }
      if (known->is_array_of_tables_) known = known->children_.last;
      if (!known->isTable() || known->is_closed_) return false;
      table = known;
    }
  }
  bool openOnce(TomlNode& parent, TomlNode* known, std::string_view word, TomlPosition key_position,
                TomlPosition begin) {
    if (known != nullptr) return false;
    table_ = addMember(parent, Kind::table, word, key_position, begin);
    return table_ != nullptr;
  }
  bool open(TomlNode& parent, TomlNode* known, std::string_view word, TomlPosition key_position, TomlPosition begin) {
    if (known == nullptr) {
      known = addMember(parent, Kind::array, word, key_position, begin);
      if (known == nullptr) return false;
      known->is_array_of_tables_ = true;
    }
    if (!known->is_array_of_tables_) return false;
    table_ = tree_.make(Kind::table, begin);
    TomlTree::add(*known, *table_);
    return true;
  }

  // key = value
  bool member(TomlNode& table) {
    const TomlPosition key_position = position();
    std::string_view key;
    if (peek() == '"' ? !string(key) : !bareWord(key)) return false;
    skipBlanks();
    if (!take('=')) return false;
    skipBlanks();
    if (find(table, key) != nullptr || table.size_ >= most_members) return false;
    TomlNode* const made = value();
    if (made == nullptr) return false;
    made->key_ = key;
    made->key_position_ = key_position;
    TomlTree::add(table, *made);
    return true;
  }

  TomlNode* value() {
    const TomlPosition begin = position();
    const char c = peek();
    if (c == '"' || c == '\'') {
      std::string_view text;
      if (!string(text)) return nullptr;
      TomlNode* const made = tree_.make(Kind::string, begin);
      made->text_ = text;
      return made;
    }
    if (c == '[' || c == '{') {
      if (depth_ == most_depth) return nullptr;
      depth_ += 1;
      TomlNode* const made = c == '[' ? list(begin) : inlineTable(begin);
      depth_ -= 1;
      return made;
    }
    return word(begin);
  }

  // Of one line. Few have escapes; the others are views of the text.
  bool string(std::string_view& out) {
    const char quote = *at_++;
    const char* const begin = at_;
    while (at_ != end_ && *at_ != quote && (*at_ != '\\' || quote == '\'')) {
      if (isControl(*at_)) return false;
      ++at_;
    }
    if (at_ == end_) return false;
    out = {begin, static_cast<size_t>(at_ - begin)};
    if (*at_ == '\\') return escaped(out);
    ++at_;
    // An empty one, or the beginning of one of several lines.
    return !out.empty() || peek() != quote;
  }
  bool escaped(std::string_view& out) {
    std::string text(out);
    while (at_ != end_ && *at_ != '"') {
      char c = *at_++;
      if (isControl(c)) return false;
      if (c == '\\') {
        switch (peek()) {
          case '"':
          case '\\':
            c = *at_;
            break;
          case 'n':
            c = '\n';
            break;
          case 't':
            c = '\t';
            break;
          case 'r':
            c = '\r';
            break;
          default:
            return false;
        }
        ++at_;
      }
      text += c;
    }
    out = tree_.keep(text);
    return take('"');
  }

  // A number or a truth value.
  TomlNode* word(TomlPosition begin) {
    const char* const start = at_;
    while (at_ != end_ && (isBare(*at_) || *at_ == '+' || *at_ == '.' || *at_ == ':')) ++at_;
    std::string_view text(start, static_cast<size_t>(at_ - start));
    if (text == "true" || text == "false") {
      TomlNode* const made = tree_.make(Kind::boolean, begin);
      made->integer_ = text == "true";
      return made;
    }
    const bool is_negative = text.starts_with('-');
    if (is_negative) text.remove_prefix(1);
    if (text.empty() || text.size() > most_digits || (text.size() > 1 && text[0] == '0')) return nullptr;
    int64_t number = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return nullptr;
      number = number * 10 + (c - '0');
    }
    TomlNode* const made = tree_.make(Kind::integer, begin);
    made->integer_ = is_negative ? -number : number;
    return made;
  }

  // Blanks, ends of lines and comments between the elements of a list.
  bool skipLines() {
    while (true) {
      skipBlanks();
      if (peek() == '#' && !comment()) return false;
      if (peek() != '\n' && peek() != '\r') return true;
      if (!newLine()) return false;
    }
  }
  TomlNode* list(TomlPosition begin) {
    ++at_;
    TomlNode* const made = tree_.make(Kind::array, begin);
    while (true) {
      if (!skipLines()) return nullptr;
      if (take(']')) return made;
      TomlNode* const element = value();
      if (element == nullptr) return nullptr;
      TomlTree::add(*made, *element);
      if (!skipLines()) return nullptr;
      if (take(']')) return made;
      if (!take(',')) return nullptr;
    }
  }
  TomlNode* inlineTable(TomlPosition begin) {
    ++at_;
    TomlNode* const made = tree_.make(Kind::table, begin);
    made->is_closed_ = true;
    skipBlanks();
    if (take('}')) return made;
    while (true) {
      skipBlanks();
      if (!member(*made)) return nullptr;
      skipBlanks();
      if (take('}')) return made;
      if (!take(',')) return nullptr;
    }
  }

  const char* at_;
  const char* const end_;
  const char* line_begin_;
  uint32_t line_ = 1;
  uint32_t depth_ = 0;
  TomlTree& tree_;
  TomlNode* table_;  // that keys belong to
};

std::unique_ptr<TomlTree> TomlTree::read(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf") || !isUtf8(text)) return nullptr;
  std::unique_ptr<TomlTree> tree(new TomlTree());
  return TomlReader(text, *tree).run() ? std::move(tree) : nullptr;
}

}  // namespace plait
