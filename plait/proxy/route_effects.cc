#include "plait/proxy/route_effects.h"

#include "plait/http/field_rules.h"
#include "plait/route/route_table.h"

namespace plait {
namespace {

// A well-mixed number that is the same in every process: a client stays on its side over restarts (FNV-1a).
uint64_t hashOf(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash ^ hash >> 32;
}

// The value of a cookie of that name, empty where there is none (RFC 6265 §4.2).
std::string_view cookieOf(const http::FieldList& fields, std::string_view name) {
  for (size_t i = fields.find(http::FieldName::cookie); i < fields.count();
       i = fields.find(http::FieldName::cookie, i + 1)) {
    std::string_view rest = fields[i].value;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(';'), rest.size());
      const std::string_view pair = http::trimWhitespace(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (pair.size() > name.size() && pair[name.size()] == '=' && pair.starts_with(name))
        return pair.substr(name.size() + 1);
    }
  }
  return {};
}

// Without the port.
std::string_view hostOf(std::string_view authority) {
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  return colon == authority.npos || (bracket != authority.npos && bracket > colon) ? authority
                                                                                   : authority.substr(0, colon);
}

}  // namespace

bool isOpenTo(const RoutePolicy& policy, std::string_view client) {
  // A client of whom nothing is known may be one that is denied.
  if (!policy.deny.empty() && (TrustedProxies::numberOf(client) == 0 || policy.deny.contains(client))) return false;
  return policy.allow.empty() || policy.allow.contains(client);
}

bool allowsLength(const RoutePolicy& policy, const http::RequestHead& head) {
  return !policy.most_body_bytes || head.content_length == http::unknown_length ||
         head.content_length <= *policy.most_body_bytes;
}

std::string_view splitKeyOf(const RoutePolicy& policy, const http::RequestHead& head, std::string_view client) {
  switch (policy.split_key) {
    case SplitKey::none:
      return {};
    case SplitKey::cookie:
      return cookieOf(head.fields, policy.split_name);
    case SplitKey::field: {
      const size_t i = head.fields.find(policy.split_name);
      return i == head.fields.count() ? std::string_view() : head.fields[i].value;
    }
    case SplitKey::client_address:
      return client;
  }
  return {};
}

uint32_t sideOf(const RoutePolicy& policy, std::string_view key) {
  return sideAt(policy, static_cast<uint32_t>(hashOf(key) % policy.sides.back().upto));
}

uint32_t sideAt(const RoutePolicy& policy, uint32_t drawn) {
  for (const SplitSide& side : policy.sides) {
    if (drawn < side.upto) return side.cluster->number;
  }
  return policy.sides.back().cluster->number;
}

void writeTarget(TextWriter& out, std::string_view target, std::string_view by, bool replaces_prefix,
                 uint32_t elements) {
  const size_t mark = std::min(target.find('?'), target.size());
  std::string_view rest;
  if (replaces_prefix) {
    const std::string_view path = target.substr(0, mark);
    rest = path.substr(route::prefixEnd(path, elements));
    if (!rest.empty() && by.ends_with('/')) by.remove_suffix(1);
  }
  out.put(by);
  out.put(rest);
  out.put(target.substr(mark));
}

bool writeLocation(TextWriter& out, const RoutePolicy& policy, const http::RequestHead& head,
                   std::string_view own_scheme, uint32_t elements) {
  const std::string_view scheme = policy.redirect_scheme.empty() ? own_scheme : policy.redirect_scheme;
  out.put(scheme);
  out.put("://");
  // Another scheme or port has another port than the one that the client has named.
  const bool drops_port = policy.redirect_host.empty() && (policy.redirect_port != 0 || scheme != own_scheme);
  std::string_view host = policy.redirect_host.empty() ? head.authority : std::string_view(policy.redirect_host);
  if (drops_port) host = hostOf(host);
  out.put(host);
  if (policy.redirect_port != 0) {
    out.put(":");
    out.put(policy.redirect_port);
  }
  const std::string_view target = head.path == "*" ? std::string_view("/") : head.path;
  if (policy.redirect_path.empty()) {
    out.put(target);
  } else {
    writeTarget(out, target, policy.redirect_path, policy.rewrites_prefix, elements);
  }
  return !host.empty() && out.fits();
}

bool isForHttps(const http::RequestHead& head, const ClientInfo& client, const TrustedProxies& trusted) {
  if (!client.redirects_https || client.is_tls) return false;
  std::string_view list = head.fields.value(http::FieldName::x_forwarded_proto);
  std::string_view first;
  return !http::nextListElement(list, first) || !http::equalsIgnoreCase(first, "https") ||
         !trusted.contains(client.address());
}

bool writeHttpsLocation(TextWriter& out, const http::RequestHead& head) {
  const std::string_view host = hostOf(head.authority);
  out.put("https://");
  out.put(host);
  out.put(head.path == "*" ? std::string_view("/") : head.path);
  return !host.empty() && out.fits();
}

route::Variables variablesOf(const http::RequestHead& head, std::string_view authority, std::string_view path,
                             std::string_view client, std::string_view scheme, std::string_view request_id) {
  const size_t mark = path.find('?');
  return {.client_address = client,
          .host = authority,
          .path = path.substr(0, mark),
          .query = mark == path.npos ? std::string_view() : path.substr(mark + 1),
          .scheme = scheme,
          .method = head.method,
          .request_id = request_id,
          .tls_server_name = {}};
}

}  // namespace plait
