// The small grammars of the configuration: addresses, URLs of backends, and words that were probably meant.
#include <fmt/format.h>

#include <algorithm>

#include "plait/http/field_rules.h"
#include "plait/net/address.h"
#include "plait/proxy/config.h"

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

std::string Place::text() const {
  return line == 0 ? source : fmt::format("{}:{}:{}", source, line, column);
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

std::string parseListenAddress(std::string_view text, sockaddr_storage& out) {
  const auto parts = splitHostPort(text);
  const auto parsed = parts && parts->port ? parseLiteral(parts->host, *parts->port) : std::nullopt;
  if (!parsed) return "expected ADDRESS:PORT with a numeric address, as in 127.0.0.1:8080 or [::1]:8080";
  out = *parsed;
  return {};
}

std::string parseBackendUrl(std::string_view url, BackendConfig& out) {
  static constexpr const char* expected =
      "expected h2c://host:port, http://host[:port], https://host[:port] or host:port";
  std::string_view rest = url;
  uint16_t default_port = 0;
  if (rest.starts_with("h2c://")) {
    rest.remove_prefix(6);
    out.protocol = BackendProtocol::h2c;
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
    out.protocol = BackendProtocol::h1;
    default_port = 80;
  } else if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
    out.protocol = BackendProtocol::https;
    default_port = 443;
  } else if (rest.find("://") != rest.npos) {
    return expected;
  } else {
    out.protocol = BackendProtocol::probe;
  }
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  // A path would be ignored, credentials would be sent nowhere: whoever writes them expects something else.
  if (rest.find_first_of("/?#@ ") != rest.npos) return expected;
  const auto parts = splitHostPort(rest);
  if (!parts || !isHost(parts->host)) return expected;
  out.name = parts->host;
  out.port = parts->port.value_or(default_port);
  if (out.port == 0) return expected;
  return {};
}

}  // namespace plait
