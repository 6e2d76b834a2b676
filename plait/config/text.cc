// The small grammars of the configuration: addresses, URLs of backends, and words that were probably meant.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <set>

#include "plait/config/config.h"
#include "plait/http/field_rules.h"
#include "plait/net/address.h"

namespace plait {
namespace {

// Levenshtein's distance: how many letters differ.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// A name, or an address literal without brackets; the interface of a zone may not be there yet.
bool isHost(std::string_view text) {
  if (text.find_first_of(":[]") == text.npos) return http::isAuthority(text);
  const size_t zone = text.find('%');
  return parseLiteral(text.substr(0, zone), 1) && (zone == text.npos || http::isToken(text.substr(zone + 1)));
}

}  // namespace

const std::string Source::none;

Source::Source(std::string_view name) {
  if (name.empty()) return;
  static std::mutex mutex;
  static std::set<std::string, std::less<>> names;
  const std::lock_guard lock(mutex);
  const auto known = names.find(name);
  name_ = known != names.end() ? &*known : &*names.emplace(name).first;
}

std::string Place::text() const {
  return line == 0 ? source.text() : fmt::format("{}:{}:{}", source.text(), line, column);
}

std::string sentenceOf(const LimitsMistake& mistake) {
  if (mistake.must_be_power_of_two)
    return fmt::format("{}: {} is not a power of two: {}", mistake.key, mistake.value, mistake.reason);
  const std::string by =
      mistake.by_key == nullptr ? "there may be" : fmt::format("{} = {} allows", mistake.by_key, mistake.by_value);
  return fmt::format("{}: {} is more than the {} that {}: {}", mistake.key, mistake.value, mistake.allowed, by,
                     mistake.reason);
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& known) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    if (candidate.starts_with(word) && candidate.substr(word.size()).starts_with('_'))
      return candidate;  // its unit was forgotten
    const size_t letters = distance(word, candidate);
    // A word of which nothing is left after the changes was not meant.
    if (letters < best_distance && letters < candidate.size()) {
      best = candidate;
      best_distance = letters;
    }
  }
  return best;
}

std::string parseMemory(std::string_view text, uint64_t& out) {
  constexpr uint64_t least = 32 << 20;
  uint64_t number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const int shift = unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  if (failed != std::errc() || shift < 0 || number > UINT64_MAX >> shift)
    return fmt::format("expected a number of K, M or G, as in \"256M\", found \"{}\"", text);
  if (number << shift < least) return fmt::format("{} is less than 32M", text);
  out = number << shift;
  return {};
}

std::string parseListenAddress(std::string_view text, sockaddr_storage& out) {
  const auto parts = splitHostPort(text);
  const auto parsed = parts && parts->port ? parseLiteral(parts->host, *parts->port) : std::nullopt;
  if (!parsed) return "expected ADDRESS:PORT with a numeric address, as in 127.0.0.1:8080 or [::1]:8080";
  out = *parsed;
  unmapV4(out);
  return {};
}

namespace {

struct Scheme {
  std::string_view prefix;
  BackendProtocol protocol;
  uint16_t port;  // where the URL has none; 0: it must have one
};
constexpr Scheme schemes[] = {{"h2c://", BackendProtocol::h2c, 0},
                              {"http://", BackendProtocol::h1, 80},
                              {"https://", BackendProtocol::https, 443}};

// An address of IPv6 with or without a port behind it, and not in brackets as it should be.
bool isBareV6(std::string_view text) {
  if (text.starts_with('[') || std::ranges::count(text, ':') < 2) return false;
  return parseLiteral(text, 0) || parseLiteral(text.substr(0, text.rfind(':')), 0);
}

// What is wrong with a URL besides its host and port; `rest` is what follows `scheme`.
std::string faultOfUrl(std::string_view scheme, std::string_view rest) {
  if (scheme.empty() && (rest.starts_with("unix:") || rest.find("+unix:") != rest.npos)) {
    return "a socket of Unix cannot be a backend: name a host and a port";
  }
  if (const size_t end = rest.find("://"); scheme.empty() && end != rest.npos) {
    return fmt::format(
        "{}:// is unknown: expected h2c://host:port, http://host[:port], https://host[:port] or host:port",
        rest.substr(0, end));
  }
  if (rest.find('@') != rest.npos) return "a user or a password cannot be sent: write the host without them";
  if (const size_t end = rest.find_first_of("/?#"); end != rest.npos) {
    return fmt::format("a backend has no path, each request brings its own: write {}{}", scheme, rest.substr(0, end));
  }
  if (rest.starts_with('[') && rest.find(':') >= rest.find(']')) {
    return "brackets are for addresses of IPv6: write the host without them";
  }
  if (isBareV6(rest)) return fmt::format("an address of IPv6 stands in brackets, as in {}[::1]:9001", scheme);
  return {};
}

}  // namespace

std::string parseBackendUrl(std::string_view url, BackendConfig& out) {
  out.protocol = BackendProtocol::probe;
  std::string_view scheme;
  std::string_view rest = url;
  uint16_t default_port = 0;
  for (const Scheme& known : schemes) {
    if (!url.starts_with(known.prefix)) continue;
    scheme = known.prefix;
    rest.remove_prefix(scheme.size());
    out.protocol = known.protocol;
    default_port = known.port;
  }
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  if (std::string wrong = faultOfUrl(scheme, rest); !wrong.empty()) return wrong;
  const size_t host_end = rest.starts_with('[') ? rest.find(']') : rest.rfind(':');
  const bool has_port = host_end != rest.npos && rest.find(':', host_end) != rest.npos;
  const auto parts = splitHostPort(rest);
  if (has_port && (!parts || parts->port == 0)) return "the port is no number from 1 to 65535";
  if (!parts || parts->host.empty()) return "there is no host, as in h2c://api-1:9001";
  if (!isHost(parts->host)) return fmt::format("{} is no host name and no address", parts->host);
  out.port = parts->port.value_or(default_port);
  if (out.port == 0) {
    return scheme.empty()
               ? fmt::format("there is no port: write {0}:9001, or http://{0} or https://{0} for theirs", rest)
               : fmt::format("there is no port, as in {}{}:9001", scheme, rest);
  }
  out.name = parts->host;
  return {};
}

}  // namespace plait
