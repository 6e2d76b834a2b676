// The readings of a raw path: what the programs on its way may take it for. A request goes on only if all of them
// belong to one route, so that no backend sees a path in a route that was closed for it.
//
// Programs differ in whether they
//   decode %2f, %2e, %5c, %3b, %25 and the other bytes that may stand in a path unencoded, each kind or not, or twice;
//   take a decoded backslash for a slash;
//   cut the parameters of an element (";…"), and cut the path at a decoded "?" or "#";
//   merge slashes, before or after they remove dot segments; remove dot segments (RFC 3986 §5.2.4);
//   take what follows several slashes at the beginning for a host, as in new URL("//host/path", base) (RFC 3986 §4.2).
// Every combination that makes a difference is a reading. Bytes that may not stand in a path unencoded (space, quotes,
// all above 0x7f, …) are decoded in each of them, for nobody can write them in another way. Case matters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "plait/base/bytes.h"

namespace plait::route {

// The path has one reading, which is its own text. True for nearly all paths; false says that read() has to look.
bool hasOneReading(std::string_view path);

// Why a path is refused with 400. The texts go into the answer.
enum class PathFault : uint8_t {
  none,
  fragment,  // "#"
  backslash,
  malformed_percent,  // "%" without two hexadecimal digits
  nul,                // %00
  overlong,           // a byte below 0x80 in more bytes than one, as %c0%ae
  not_absolute,       // it does not begin with "/", and is not "*" or empty
  too_many_readings,  // more than there is room for
};
const char* textOf(PathFault fault);

class PathReadings {
 public:
  static constexpr size_t max_count = 48;
  static constexpr size_t buffer_bytes = 16 * 1024;

  // `buffer` holds the texts of readings that differ from the path; its size bounds the work for one path.
  explicit PathReadings(MutableBytes buffer) : buffer_(buffer) {}

  // Finds the readings of `path`, each once, the path as it came first. Good until the next call, as long as `path`.
  // A fault: there are none.
  PathFault read(std::string_view path);

  size_t count() const { return count_; }
  std::string_view at(size_t index) const { return readings_[index]; }

  // Whether some reading of a path that ends with `rest`, which is empty or begins with "/", leaves what stands in
  // front of it, be it to come back. Readings that were found before are lost.
  bool climbsOutOf(std::string_view rest);

 private:
  struct Decoding;
  template <class Write>
  std::string_view made(Write&& write);
  void addVariants(std::string_view text);
  void addNormalised(std::string_view text);
  void addBehindHosts(std::string_view text);
  void keep(std::string_view text);

  MutableBytes buffer_;
  size_t used_ = 0;
  size_t count_ = 0;
  bool is_full_ = false;
  std::string_view readings_[max_count];
};

// The one reading of a route's path, exact or prefix (without the slash at a prefix's end, "/" aside). A sentence's end
// that says what is wrong, as `has "//"`, where it has another one; else empty.
std::string readingOfRoute(std::string_view written, bool is_prefix, std::string& reading);

}  // namespace plait::route
