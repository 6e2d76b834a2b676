// The rules of match.h and path_readings.h once more, as slowly and plainly as they read: what tests and the fuzz
// target hold the table against.
#pragma once

#include <algorithm>
#include <cctype>
#include <functional>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "plait/route/match.h"

namespace plait::route::naive {

inline std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts{""};
  for (const char c : text) {
    if (c == at) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

inline std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? "" : "/") + parts[i];
  return text;
}

// -- readings

// The byte of "%xx" at `at`.
inline std::optional<unsigned char> escapeAt(const std::string& text, size_t at) {
  if (text[at] != '%' || at + 2 >= text.size()) return std::nullopt;
  if (std::isxdigit(static_cast<unsigned char>(text[at + 1])) == 0) return std::nullopt;
  if (std::isxdigit(static_cast<unsigned char>(text[at + 2])) == 0) return std::nullopt;
  return static_cast<unsigned char>(std::stoi(text.substr(at + 1, 2), nullptr, 16));
}

inline bool mayStandUnencoded(unsigned char byte) {
  return std::isalnum(byte) != 0 ||
         (byte != 0 && std::string("-._~!$&'()*+,;=:@/\\%").find(static_cast<char>(byte)) != std::string::npos);
}

inline std::string decoded(const std::string& path, const std::function<bool(unsigned char)>& isDecoded, bool turn) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    const auto byte = escapeAt(path, i);
    if (!byte || !isDecoded(*byte)) {
      out += path[i];
      continue;
    }
    out += *byte == '\\' && turn ? '/' : static_cast<char>(*byte);
    i += 2;
  }
  return out;
}

inline std::string withoutParameters(const std::string& path) {
  std::vector<std::string> elements = split(path, '/');
  for (std::string& element : elements) element = element.substr(0, element.find(';'));
  return join(elements);
}

inline std::string merged(std::string path) {
  for (size_t i = path.find("//"); i != std::string::npos; i = path.find("//")) path.erase(i, 1);
  return path;
}

inline std::string withoutDots(const std::string& path) {
  std::vector<std::string> kept;
  const std::vector<std::string> elements = split(path, '/');
  for (size_t i = 1; i < elements.size(); ++i) {
    const bool is_last = i + 1 == elements.size();
    if (elements[i] == "..") {
      if (!kept.empty()) kept.pop_back();
      if (is_last) kept.emplace_back();
    } else if (elements[i] == ".") {
      if (is_last) kept.emplace_back();
    } else {
      kept.push_back(elements[i]);
    }
  }
  return "/" + join(kept);
}

// Empty: the path is refused.
inline std::set<std::string> readings(const std::string& path) {
  if (path.empty() || path == "*") return {path};
  if (path[0] != '/') return {};
  std::string bytes;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '#' || path[i] == '\\' || path[i] == '\0') return {};
    const auto byte = escapeAt(path, i);
    if (path[i] == '%' && !byte) return {};
    if (byte && *byte == 0) return {};
    bytes += byte ? static_cast<char>(*byte) : path[i];
    if (byte) i += 2;
  }
  for (size_t i = 0; i + 1 < bytes.size(); ++i) {
    const auto a = static_cast<unsigned char>(bytes[i]);
    const auto b = static_cast<unsigned char>(bytes[i + 1]);
    if ((a == 0xc0 || a == 0xc1) && b >= 0x80 && b <= 0xbf) return {};
    if (a == 0xe0 && (b == 0x80 || b == 0x81)) return {};
    if ((a == 0xf0 || a == 0xf8 || a == 0xfc) && b == 0x80) return {};
  }
  std::set<std::string> texts;
  for (int choice = 0; choice < 128; ++choice) {
    const auto isDecoded = [&](unsigned char byte) {
      if (!mayStandUnencoded(byte)) return true;
      const std::string special = "/.\\;%";
      const size_t kind = special.find(static_cast<char>(byte));
      return (choice >> (kind == std::string::npos ? special.size() : kind) & 1) != 0;
    };
    texts.insert(decoded(path, isDecoded, (choice & 64) != 0));
  }
  const auto all = [](unsigned char) { return true; };
  const std::string twice = decoded(decoded(path, all, true), all, true);
  if (twice.find('\0') != std::string::npos) return {};
  texts.insert(twice);
  std::set<std::string> cut;
  for (const std::string& text : texts) {
    cut.insert(text);
    cut.insert(withoutParameters(text));
    cut.insert(text.substr(0, text.find_first_of("?#")));
  }
  std::set<std::string> behind_hosts;
  for (std::string text : cut) {
    behind_hosts.insert(text);
    while (text.starts_with("//")) {
      const size_t host = text.find_first_not_of('/');
      const size_t end = host == std::string::npos ? host : text.find('/', host);
      text = end == std::string::npos ? "/" : text.substr(end);
      behind_hosts.insert(text);
    }
  }
  std::set<std::string> found;
  for (const std::string& text : behind_hosts) {
    found.insert(text);
    found.insert(merged(text));
    found.insert(withoutDots(text));
    found.insert(merged(withoutDots(text)));
    found.insert(withoutDots(merged(text)));
  }
  return found;
}

// -- matching

struct Request {
  std::string host;
  std::string path;
  std::string query;
  std::string method;
  std::vector<Condition> fields;
};

inline std::string normalHost(std::string host) {
  if (host.starts_with("[")) {
    host = host.substr(0, host.find(']') == std::string::npos ? host.size() : host.find(']') + 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  if (host.ends_with(".")) host.pop_back();
  if (host.size() > 255) return "";
  for (char& c : host) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return host;
}

inline std::string formDecoded(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = escapeAt(text, i);
    out += byte ? static_cast<char>(*byte) : text[i] == '+' ? ' ' : text[i];
    if (byte) i += 2;
  }
  return out;
}

// How well a host matches: 0 not at all, 1 as any, then by the length of the wildcard, most if it is the same.
inline size_t hostRank(const Match& match, const std::string& host) {
  size_t best = match.hosts.empty() ? 1 : 0;
  for (const std::string& pattern : match.hosts) {
    const std::string name = normalHost(pattern);
    if (name.starts_with("*.")) {
      const std::string end = name.substr(1);
      if (host.size() > end.size() && host.ends_with(end)) best = std::max(best, 1 + end.size());
    } else if (!host.starts_with(".") && host == name) {
      best = 1000;
    }
  }
  return best;
}

// The kind, and within it the length; nothing if the path does not match.
inline std::optional<std::pair<int, size_t>> pathRank(const Match& match, const std::string& path) {
  const bool is_path = path.starts_with("/");
  const std::string wanted = decoded(match.path, [](unsigned char byte) { return !mayStandUnencoded(byte); }, false);
  switch (match.path_kind) {
    case PathKind::exact:
      if (path != wanted) return std::nullopt;
      return std::pair(3, size_t{0});
    case PathKind::expression: {
      // "." of std::regex is not every byte.
      static std::vector<std::pair<std::string, std::regex>> known;
      auto entry = std::find_if(known.begin(), known.end(), [&](const auto& one) { return one.first == match.path; });
      if (entry == known.end()) entry = known.emplace(known.end(), match.path, std::regex(match.path));
      if (!is_path || !std::regex_match(path, entry->second)) return std::nullopt;
      return std::pair(2, match.path.size());
    }
    case PathKind::prefix: {
      std::vector<std::string> prefix = split(wanted, '/');
      if (prefix.back().empty()) prefix.pop_back();
      const std::vector<std::string> elements = split(path, '/');
      const size_t size = prefix.size();
      if (size <= 1) return std::pair(1, size_t{0});
      if (!is_path || elements.size() < size || !std::equal(prefix.begin(), prefix.end(), elements.begin()))
        return std::nullopt;
      return std::pair(1, size);
    }
  }
  return std::nullopt;
}

inline bool matchesRest(const Match& match, const Request& request) {
  if (!match.methods.empty() &&
      std::find(match.methods.begin(), match.methods.end(), request.method) == match.methods.end())
    return false;
  for (const Condition& wanted : match.fields) {
    std::optional<std::string> value;
    for (const Condition& field : request.fields) {
      if (field.name != wanted.name) continue;
      value = value ? *value + (field.name == "cookie" ? "; " : ", ") + field.value : field.value;
    }
    if (value != wanted.value) return false;
  }
  for (const Condition& wanted : match.query) {
    std::optional<std::string> value;
    for (const std::string& parameter : split(request.query, '&')) {
      if (parameter.empty() || value) continue;
      const size_t equals = parameter.find('=');
      if (formDecoded(parameter.substr(0, equals)) != wanted.name) continue;
      value = equals == std::string::npos ? "" : formDecoded(parameter.substr(equals + 1));
    }
    if (value != wanted.value) return false;
  }
  return true;
}

using Rank = std::tuple<size_t, int, size_t, bool, size_t, size_t, int32_t>;

// Of one reading of the request's path.
inline std::optional<Rank> rankOf(const Match& match, const Request& request, const std::string& path) {
  const size_t host = hostRank(match, normalHost(request.host));
  const auto at = pathRank(match, path);
  if (host == 0 || !at || !matchesRest(match, request)) return std::nullopt;
  return Rank(host, at->first, at->second, !match.methods.empty(), match.fields.size(), match.query.size(),
              match.priority);
}

struct Answer {
  enum class Kind : uint8_t { found, none, refused, tie };
  Kind kind = Kind::none;
  uint32_t route = 0;
  bool operator==(const Answer&) const = default;
};

inline Answer lookup(const std::vector<RouteSpec>& specs, const Request& request) {
  const std::set<std::string> paths = readings(request.path);
  if (paths.empty() || request.query.find('#') != std::string::npos) return {Answer::Kind::refused};
  std::optional<Answer> answer;
  for (const std::string& path : paths) {
    Answer one;
    std::optional<Rank> best;
    for (uint32_t i = 0; i < specs.size(); ++i) {
      const auto rank = rankOf(specs[i].match, request, path);
      if (!rank || (best && *rank < *best)) continue;
      if (best && *rank == *best) return {Answer::Kind::tie, i};
      best = rank;
      one = {Answer::Kind::found, i};
    }
    if (answer && *answer != one) return {Answer::Kind::refused};
    answer = one;
  }
  return *answer;
}

}  // namespace plait::route::naive
