#include "plait/proxy/forward.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "plait/http/field_rules.h"
#include "plait/http/forwarded.h"

namespace plait {

using http::FieldName;

void chooseAuthority(std::string_view asked, const ForwardOptions& options, uint32_t backend_idx,
                     http::RequestHead& out) {
  const BackendAuthority& backend = options.authorities[backend_idx];
  out.authority = !backend.fixed.empty() ? std::string_view(backend.fixed) : asked;
  if (out.authority.empty()) out.authority = backend.own;
}

namespace {

// What Via calls us: the addresses of a proxy are nobody's business (RFC 9110 §7.6.3).
constexpr std::string_view pseudonym = "plait";

bool hasMaxForwards(const http::RequestHead& head) {
  return head.method == "OPTIONS" || head.method == "TRACE";
}

// One less than `value`, written into `out`; more hops than nine digits can say are as many as they can. What is no
// number, or 0, stays as it is.
std::string_view lessened(std::string_view value, std::span<char, 16> out) {
  uint64_t hops = 0;
  for (const char c : value) {
    if (!http::isOfClass(c, http::class_digit)) return value;
    hops = std::min<uint64_t>(hops * 10 + static_cast<uint64_t>(c - '0'), 1'000'000'000);
  }
  if (hops == 0) return value;
  const auto end = std::to_chars(out.data(), out.data() + out.size(), hops - 1).ptr;
  return {out.data(), static_cast<size_t>(end - out.data())};
}

}  // namespace

bool isLastHop(const http::RequestHead& head) {
  if (!hasMaxForwards(head)) return false;
  const std::string_view hops = head.fields.value(FieldName::max_forwards);
  return !hops.empty() && hops.find_first_not_of('0') == std::string_view::npos;
}

bool goesRound(const http::RequestHead& head, uint32_t most_hops) {
  uint32_t hops = 0;
  for (size_t i = head.fields.find(FieldName::via); i < head.fields.count();
       i = head.fields.find(FieldName::via, i + 1)) {
    std::string_view list = head.fields[i].value;
    std::string_view element;
    while (http::nextListElement(list, element)) {
      // received-protocol RWS received-by, and perhaps a comment (RFC 9110 §7.6.3).
      constexpr std::string_view whitespace = " \t";
      const size_t protocol_end = std::min(element.find_first_of(whitespace), element.size());
      const std::string_view received_by = http::trimWhitespace(element.substr(protocol_end));
      if (http::equalsIgnoreCase(received_by.substr(0, received_by.find_first_of(whitespace)), pseudonym)) hops += 1;
    }
  }
  return hops >= most_hops;
}

namespace {

// The fields that plait gives a request, until those of the client's that they replace have gone.
class Additions {
 public:
  void add(FieldName id, std::string_view value, bool never_indexed = false) {
    if (value.empty()) return;
    PLAIT_ASSERT(count_ < std::size(fields_));
    fields_[count_++] = {http::nameOf(id), value, id, never_indexed};
    bytes_ += http::FieldList::bytesFor(http::nameOf(id), value, id);
  }
  bool addTo(Exchange& exchange) const {
    if (!exchange.makeRoom(bytes_)) return false;
    http::FieldList& fields = exchange.mutableRequest().fields;
    for (uint32_t i = 0; i < count_; ++i) {
      const http::Field& field = fields_[i];
      if (!fields.add(field.name, field.value, field.id, field.never_indexed)) return false;
    }
    return true;
  }

 private:
  http::Field fields_[6];
  uint32_t count_ = 0;
  size_t bytes_ = 0;
};

}  // namespace

bool prepareRequest(Exchange& exchange, const ForwardOptions& options) {
  // Most requests have none of these: no field of theirs has to go, and what is added builds on nothing.
  constexpr http::FieldNameSet needing_care =
      http::hop_by_hop_names |
      http::FieldNameSet{FieldName::expect,           FieldName::x_forwarded_for, FieldName::x_forwarded_proto,
                         FieldName::x_forwarded_host, FieldName::forwarded,       FieldName::via,
                         FieldName::max_forwards};
  http::RequestHead& head = exchange.mutableRequest();
  const bool needs_care = head.fields.containsAny(needing_care);
  const http::FieldList fields = needs_care ? head.fields : http::FieldList();
  const http::ClientHop hop{exchange.client().address(), exchange.client().scheme(), head.authority,
                            options.trusted_proxies.contains(exchange.client().address())};
  http::ConnectionTokens tokens;
  for (size_t i = fields.find(FieldName::connection); i < fields.count();
       i = fields.find(FieldName::connection, i + 1)) {
    if (!http::parseConnectionValue(fields[i].value, tokens)) return false;
  }
  Additions additions;
  uint8_t values[5][4096];
  char hops[16];
  if (hasMaxForwards(head)) {
    const size_t i = fields.find(FieldName::max_forwards);
    if (i != fields.count() && !http::isHopByHop(fields[i], tokens)) {
      additions.add(FieldName::max_forwards, lessened(fields[i].value, hops), fields[i].never_indexed);
    }
  }
  // A value that has grown beyond all measure starts anew with what we know: without it the backend would take us for
  // the client.
  const auto addGrown = [&](FieldName id, auto build) {
    const std::string_view text = build(fields);
    additions.add(id, text.empty() ? build(http::FieldList()) : text);
  };
  if (options.x_forwarded) {
    addGrown(FieldName::x_forwarded_for,
             [&](const http::FieldList& present) { return http::buildXForwardedFor(values[0], present, hop); });
    additions.add(FieldName::x_forwarded_proto, http::buildXForwardedProto(values[1], fields, hop));
    additions.add(FieldName::x_forwarded_host, http::buildXForwardedHost(values[2], fields, hop));
  }
  if (options.forwarded) {
    addGrown(FieldName::forwarded,
             [&](const http::FieldList& present) { return http::buildForwarded(values[3], present, hop); });
  }
  if (options.via) {
    addGrown(FieldName::via, [&](const http::FieldList& present) {
      return http::buildVia(values[4], present, head.version, pseudonym);
    });
  }
  const auto staysHere = [&](const http::Field& field) {
    if (http::mayBeHopByHop(field.id, tokens) && http::isHopByHop(field, tokens)) return true;
    switch (field.id) {
      case FieldName::expect:  // answered at this hop
        return true;
      // Those of a client that is no proxy of ours are claims of anybody, and go even where nothing takes their place.
      case FieldName::x_forwarded_for:
      case FieldName::x_forwarded_proto:
      case FieldName::x_forwarded_host:
        return options.x_forwarded || !hop.is_trusted;
      case FieldName::forwarded:
        return options.forwarded || !hop.is_trusted;
      case FieldName::via:
        return options.via;
      case FieldName::max_forwards:
        return hasMaxForwards(head);
      default:
        return false;
    }
  };
  if (needs_care) head.fields.removeIf(staysHere);
  head.scheme = exchange.client().scheme();
  return additions.addTo(exchange);
}

bool ForwardAwaiter::await_ready() {
  http::Pipe& pipe = response_.pipe();
  const bool no_content =
      exchange_.request().method == "HEAD" || response_.status() == 204 || response_.status() == 304;
  const bool is_empty = pipe.isEnded() && !pipe.isAborted() && pipe.bufferedBytes() == 0 && pipe.trailers() == nullptr;
  const bool ends = no_content || is_empty;
  is_refused_ = !exchange_.sendHead(response_.head(), ends);
  is_relayed_ = !is_refused_ && !ends;
  return is_relayed_ ? relay_.await_ready() : true;
}

Result<Outcome> ForwardAwaiter::await_resume() {
  if (is_refused_) {
    return fail(streamError(ErrorCode::cancelled, "the client is gone, or has no room for the response's head"));
  }
  if (is_relayed_) {
    if (Status relayed = relay_.await_resume(); !relayed) return fail(relayed.error());
  }
  return Outcome{response_.status(), response_.backendIdx(), true};
}

}  // namespace plait
