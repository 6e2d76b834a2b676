#include "plait/route/path_readings.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "plait/base/assert.h"

namespace plait::route {
namespace {

// Kinds of encoded bytes. Programs that decode one kind may leave another as it is.
enum Kind : uint8_t { always, slash, dot, backslash, semicolon, percent, query_mark, other, kind_count };

constexpr auto makeKinds() {
  std::array<Kind, 256> kinds{};
  for (const char c : std::string_view("!$&'()*+,=:@-_~")) kinds[static_cast<uint8_t>(c)] = other;
  for (int c = '0'; c <= '9'; ++c) kinds[static_cast<size_t>(c)] = other;
  for (int c = 'a'; c <= 'z'; ++c) kinds[static_cast<size_t>(c)] = kinds[static_cast<size_t>(c - 32)] = other;
  kinds['/'] = slash;
  kinds['.'] = dot;
  kinds['\\'] = backslash;
  kinds[';'] = semicolon;
  kinds['%'] = percent;
  kinds['?'] = kinds['#'] = query_mark;
  return kinds;
}
constexpr std::array<Kind, 256> kinds = makeKinds();

constexpr int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
// The byte that "%xx" at `at` stands for; -1 if it is malformed.
int encodedAt(std::string_view text, size_t at) {
  if (text.size() - at < 3) return -1;
  const int high = hexDigit(text[at + 1]);
  const int low = hexDigit(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// The second byte of UTF-8 shows that the sequence is longer than an ASCII character needs (RFC 3629 §3).
bool isOverlong(uint8_t first, uint8_t second) {
  switch (first) {
    case 0xc0:
    case 0xc1:
      return second >= 0x80 && second <= 0xbf;
    case 0xe0:
      return second == 0x80 || second == 0x81;
    case 0xf0:
    case 0xf8:
    case 0xfc:
      return second == 0x80;
    default:
      return false;
  }
}

// What occurs in a path.
struct Survey {
  PathFault fault = PathFault::none;
  std::array<bool, kind_count> has{};  // encoded bytes of each kind
  bool has_parameters = false;         // a raw ";"
};

Survey survey(std::string_view path) {
  Survey found;
  uint8_t before = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    auto byte = static_cast<uint8_t>(path[i]);
    if (byte == '%') {
      const int encoded = encodedAt(path, i);
      if (encoded < 0) found.fault = PathFault::malformed_percent;
      if (encoded == 0) found.fault = PathFault::nul;
      byte = static_cast<uint8_t>(encoded);
      found.has[kinds[byte]] = true;
      i += 2;
    } else if (byte == '#') {
      found.fault = PathFault::fragment;
    } else if (byte == '\\') {
      found.fault = PathFault::backslash;
    } else if (byte == 0) {
      found.fault = PathFault::nul;
    } else if (byte == ';') {
      found.has_parameters = true;
    }
    if (isOverlong(before, byte)) found.fault = PathFault::overlong;
    if (found.fault != PathFault::none) return found;
    before = byte;
  }
  return found;
}

using Lanes16 = uint8_t __attribute__((ext_vector_type(16)));
using Lanes8 = uint8_t __attribute__((ext_vector_type(8)));

// Whether the bytes from `text` on, of which there are as many as lanes, need a closer look. There is a byte before.
template <class Lanes>
bool isSuspicious(const char* text) {
  Lanes byte;
  Lanes before;
  std::memcpy(&byte, text, sizeof(byte));
  std::memcpy(&before, text - 1, sizeof(before));
  const auto found = (byte == '%') | (byte == ';') | (byte == '\\') | (byte == '#') | (byte >= 0x80) | (byte == 0) |
                     ((before == '/') & ((byte == '/') | (byte == '.')));
  return __builtin_reduce_or(found) != 0;
}

bool isSuspiciousByte(char before, char c) {
  const auto byte = static_cast<uint8_t>(c);
  return byte == '%' || byte == ';' || byte == '\\' || byte == '#' || byte >= 0x80 || byte == 0 ||
         (before == '/' && (byte == '/' || byte == '.'));
}

bool hasDotSegments(std::string_view text) {
  for (size_t i = text.find("/."); i != std::string_view::npos; i = text.find("/.", i + 1)) {
    size_t end = i + 2;
    if (end < text.size() && text[end] == '.') end += 1;
    if (end == text.size() || text[end] == '/') return true;
  }
  return false;
}

// Writes text into memory that may be too small.
struct Writer {
  MutableBytes memory;
  size_t size = 0;
  bool is_whole = true;  // all that was to be written had room

  void put(char c) {
    if (size == memory.size()) {
      is_whole = false;
      return;
    }
    memory[size++] = static_cast<uint8_t>(c);
  }
  void put(std::string_view text) {
    if (text.size() > memory.size() - size) {
      is_whole = false;
      return;
    }
    if (text.empty()) return;
    copyShort(memory.data() + size, text.data(), text.size());
    size += text.size();
  }
  std::string_view text() const { return {reinterpret_cast<const char*>(memory.data()), size}; }
};

// Removes dot segments as RFC 3986 §5.2.4 does. The text never grows.
void removeDotSegments(std::string_view text, Writer& out) {
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (end < text.size() && text[end] != '/') end += 1;
    const bool is_here = end - at == 2 && text[at + 1] == '.';
    const bool is_parent = end - at == 3 && text[at + 1] == '.' && text[at + 2] == '.';
    if (is_parent) {
      while (out.size != 0 && out.memory[out.size - 1] != '/') out.size -= 1;
      if (out.size != 0) out.size -= 1;
    }
    if (!is_here && !is_parent) {
      out.put(text.substr(at, end - at));
    } else if (end == text.size()) {
      out.put('/');
    }
    at = end;
  }
  if (out.size == 0) out.put('/');
}

void mergeSlashes(std::string_view text, Writer& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == 0 || text[i] != '/' || text[i - 1] != '/') out.put(text[i]);
  }
}

void cutParameters(std::string_view text, Writer& out) {
  bool is_cut = false;
  for (const char c : text) {
    if (c == '/') is_cut = false;
    if (c == ';') is_cut = true;
    if (!is_cut) out.put(c);
  }
}

}  // namespace

// Which kinds are decoded. Backslashes: not, or as they are, or to slashes.
struct PathReadings::Decoding {
  std::array<bool, kind_count> is_decoded{};
  bool is_backslash_slash = false;

  void write(std::string_view path, Writer& out) const {
    for (size_t i = 0; i < path.size(); ++i) {
      const int encoded = path[i] == '%' ? encodedAt(path, i) : -1;
      if (encoded < 0 || !is_decoded[kinds[static_cast<size_t>(encoded)]]) {
        out.put(path[i]);
        continue;
      }
      out.put(encoded == '\\' && is_backslash_slash ? '/' : static_cast<char>(encoded));
      i += 2;
    }
  }
};

const char* textOf(PathFault fault) {
  switch (fault) {
    case PathFault::none:
      return "";
    case PathFault::fragment:
      return "the target has a fragment";
    case PathFault::backslash:
      return "the path has a backslash";
    case PathFault::malformed_percent:
      return "the path has a \"%\" without two hexadecimal digits";
    case PathFault::nul:
      return "the path has a NUL";
    case PathFault::overlong:
      return "the path has an overlong UTF-8 sequence";
    case PathFault::not_absolute:
      return "the path does not begin with \"/\"";
    case PathFault::too_many_readings:
      return "the path can be read in too many ways";
  }
  PLAIT_UNREACHABLE();
}

bool hasOneReading(std::string_view path) {
  if (path.empty() || path.front() != '/') return false;
  const char* text = path.data();
  const size_t size = path.size();
  size_t i = 1;
  if (size >= 1 + sizeof(Lanes16)) {
    for (; i + sizeof(Lanes16) <= size; i += sizeof(Lanes16)) {
      if (isSuspicious<Lanes16>(text + i)) return false;
    }
    return !isSuspicious<Lanes16>(text + size - sizeof(Lanes16));
  }
  if (size >= 1 + sizeof(Lanes8))
    return !isSuspicious<Lanes8>(text + 1) && !isSuspicious<Lanes8>(text + size - sizeof(Lanes8));
  for (; i < size; ++i) {
    if (isSuspiciousByte(text[i - 1], text[i])) return false;
  }
  return true;
}

void PathReadings::keep(std::string_view text) {
  if (is_full_) return;
  for (size_t i = 0; i < count_; ++i) {
    if (readings_[i] == text) return;
  }
  if (count_ == max_count) {
    is_full_ = true;
    return;
  }
  readings_[count_++] = text;
}

// The text that `write` makes, behind all others; empty when there is no room. Texts that turn out to be known already
// keep their room, so that its size bounds the work.
template <class Write>
std::string_view PathReadings::made(Write&& write) {
  if (is_full_) return {};
  Writer out{buffer_.subspan(used_)};
  write(out);
  if (!out.is_whole) {
    is_full_ = true;
    return {};
  }
  used_ += out.size;
  return out.text();
}

// `text` with slashes merged or not, and dot segments removed or not, in either order.
void PathReadings::addNormalised(std::string_view text) {
  keep(text);
  const bool has_dots = hasDotSegments(text);
  if (has_dots) {
    const std::string_view removed = made([&](Writer& out) { removeDotSegments(text, out); });
    keep(removed);
    if (removed.find("//") != std::string_view::npos) keep(made([&](Writer& out) { mergeSlashes(removed, out); }));
  }
  if (text.find("//") == std::string_view::npos) return;
  const std::string_view merged = made([&](Writer& out) { mergeSlashes(text, out); });
  keep(merged);
  if (has_dots) keep(made([&](Writer& out) { removeDotSegments(merged, out); }));
}

// `text`, and what is behind its first element where that can be taken for a host, each normalised in every way.
void PathReadings::addBehindHosts(std::string_view text) {
  addNormalised(text);
  while (text.starts_with("//") && !is_full_) {
    const size_t host = text.find_first_not_of('/');
    const size_t path = host == std::string_view::npos ? host : text.find('/', host);
    text = path == std::string_view::npos ? std::string_view("/") : text.substr(path);
    addNormalised(text);
  }
}

// `text` whole and cut.
void PathReadings::addVariants(std::string_view text) {
  addBehindHosts(text);
  if (text.find(';') != std::string_view::npos) addBehindHosts(made([&](Writer& out) { cutParameters(text, out); }));
  // A raw "?" ends the path and a raw "#" is refused, so these were encoded.
  const size_t mark = text.find_first_of("?#");
  if (mark != std::string_view::npos) addBehindHosts(text.substr(0, mark));
}

PathFault PathReadings::read(std::string_view path) {
  used_ = 0;
  count_ = 0;
  is_full_ = false;
  if (path.empty() || path == "*") {
    keep(path);
    return PathFault::none;
  }
  const Survey found = survey(path);
  if (found.fault != PathFault::none) return found.fault;
  if (path.front() != '/') return PathFault::not_absolute;

  Decoding decoding;
  decoding.is_decoded[always] = decoding.is_decoded[query_mark] = true;
  const auto add = [&] {
    bool is_changed = false;
    for (size_t kind = 0; kind < kind_count; ++kind) is_changed |= found.has[kind] && decoding.is_decoded[kind];
    addVariants(is_changed ? made([&](Writer& out) { decoding.write(path, out); }) : path);
  };
  // Each subset of the kinds that occur. Their texts all differ, so there are at most as many as there is room for.
  constexpr Kind optional[] = {slash, dot, backslash, semicolon, percent, other};
  Kind present[std::size(optional)];
  size_t present_count = 0;
  for (const Kind kind : optional) {
    if (found.has[kind]) present[present_count++] = kind;
  }
  if (size_t{1} << present_count > max_count) return PathFault::too_many_readings;
  for (uint32_t subset = 0; subset < 1u << present_count && !is_full_; ++subset) {
    for (size_t i = 0; i < present_count; ++i) decoding.is_decoded[present[i]] = (subset >> i & 1) != 0;
    decoding.is_backslash_slash = false;
    add();
    if (!found.has[backslash] || !decoding.is_decoded[backslash]) continue;
    decoding.is_backslash_slash = true;
    add();
  }
  if (found.has[percent] && !is_full_) {
    decoding.is_decoded.fill(true);
    decoding.is_backslash_slash = true;
    const std::string_view once = made([&](Writer& out) { decoding.write(path, out); });
    const std::string_view twice = made([&](Writer& out) { decoding.write(once, out); });
    if (twice.find('\0') != std::string_view::npos) return count_ = 0, PathFault::nul;
    addVariants(twice);
  }
  if (!is_full_) return PathFault::none;
  count_ = 0;
  return PathFault::too_many_readings;
}

bool PathReadings::climbsOutOf(std::string_view rest) {
  // What climbs out reads the same whatever has stood there, so it cannot begin with both of these.
  for (const std::string_view front : {"/a", "/b"}) {
    if (front.size() + rest.size() > buffer_.size()) return true;
    Writer path{buffer_};
    path.put(front);
    path.put(rest);
    PathReadings readings(buffer_.subspan(path.size));
    if (readings.read(path.text()) != PathFault::none) return true;
    for (size_t i = 0; i < readings.count(); ++i) {
      const std::string_view reading = readings.at(i);
      if (reading != front && !(reading.starts_with(front) && reading[front.size()] == '/')) return true;
    }
  }
  return false;
}

std::string readingOfRoute(std::string_view written, bool is_prefix, std::string& reading) {
  if (written.empty() || written.front() != '/') return "does not begin with \"/\"";
  for (const char c : written) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '?') return "has a query, for which there is the key query";
    if (c == '#') return "has a \"#\", which no request may have";
    if (c == '\\') return "has a backslash, which no request may have";
    if (c == ';') return "has a \";\", behind which some programs cut an element";
    if (byte < 0x20 || byte == 0x7f) return "has a control character";
  }
  for (size_t i = written.find('%'); i != std::string_view::npos; i = written.find('%', i + 1)) {
    const int byte = encodedAt(written, i);
    if (byte < 0) return "has a \"%\" without two hexadecimal digits";
    if (byte < 0x20 || byte == 0x7f) return "has a control character";
    const std::string escape(written.substr(i, 3));
    const Kind kind = kinds[static_cast<size_t>(byte)];
    if (kind == other) return "has " + escape + ": write \"" + static_cast<char>(byte) + "\"";
    if (kind != always) return "has " + escape + ", which some programs decode and others do not";
  }
  uint8_t buffer[8 * 1024];
  PathReadings readings(buffer);
  if (written.size() > sizeof(buffer)) return "is longer than 8192 bytes";
  if (const PathFault fault = readings.read(written); fault != PathFault::none) {
    if (fault == PathFault::overlong) return "has an overlong UTF-8 sequence";
    return "can be read in several ways";
  }
  if (written.find("//") != std::string_view::npos) return "has \"//\", which some programs take for \"/\"";
  if (readings.count() != 1) return "has a \".\" or \"..\" for an element, which some programs remove";
  reading = readings.at(0);
  if (is_prefix && reading.size() > 1 && reading.ends_with('/')) reading.pop_back();
  return "";
}

}  // namespace plait::route
