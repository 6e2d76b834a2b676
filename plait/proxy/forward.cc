#include "plait/proxy/forward.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "plait/filter/fields.h"
#include "plait/http/field_rules.h"
#include "plait/http/forwarded.h"
#include "plait/net/address.h"
#include "plait/net/tls.h"
#include "plait/proxy/route_effects.h"

namespace plait {

using http::FieldName;

bool chooseAuthority(ProxyRequest& request, const BackendAuthority& backend) {
  const std::string_view chosen =
      authorityFor(request.policy ? &*request.policy : nullptr, request.asked_authority, backend);
  const bool is_of_backend = chosen.data() == backend.fixed.data() || chosen.data() == backend.own.data();
  if (!is_of_backend || chosen.empty()) {
    request.head.authority = chosen;
    return true;
  }
  if (request.head.authority == chosen) return true;
  // The plan may be replaced before the head is sent.
  if (!request.exchange.makeRoom(chosen.size())) return false;
  request.head.authority = request.head.fields.keep(chosen);
  return request.head.authority.data() != nullptr;
}

namespace {

// plait's name in Via. A pseudonym, so that no address of this machine is told (RFC 9110 §7.6.3).
constexpr std::string_view pseudonym = "plait";

bool hasMaxForwards(const http::RequestHead& head) {
  return head.method == "OPTIONS" || head.method == "TRACE";
}

// `value` less one, written into `out`, and at most 999,999,999. A value that is 0, or no number, stays as it is.
std::string_view decremented(std::string_view value, std::span<char, 16> out) {
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

bool hasUsedUpMaxForwards(const http::RequestHead& head) {
  if (!hasMaxForwards(head)) return false;
  const std::string_view hops = head.fields.value(FieldName::max_forwards);
  return !hops.empty() && hops.find_first_not_of('0') == std::string_view::npos;
}

bool isForwardingLoop(const http::RequestHead& head) {
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
  return hops >= most_hops_through_plait;
}

namespace {

// The fields that plait adds to a request. They wait here until the client's fields that they replace are removed.
class AddedFields {
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
  http::Field fields_[7];
  uint32_t count_ = 0;
  size_t bytes_ = 0;
};

// Text that is built has at most this size.
constexpr size_t most_text = 4096;
// The same for a certificate's.
constexpr size_t most_certificate_text = 16 << 10;

std::string_view viaOf(http::Version version) {
  switch (version) {
    case http::Version::http_1_0:
      return "1.0 plait";
    case http::Version::http_1_1:
      return "1.1 plait";
    default:
      return "2.0 plait";
  }
}

// The request has none of the fields that plait adds: their values are this hop's alone.
bool addFieldsOfThisHop(Exchange& exchange, const ForwardOptions& options) {
  http::RequestHead& head = exchange.mutableRequest();
  const ClientInfo& client = exchange.client();
  const std::string_view address = client.address().empty() ? std::string_view("unknown") : client.address();
  const std::string_view host = head.authority.size() <= most_text ? head.authority : std::string_view();
  const std::string_view via = viaOf(head.version);
  // The bytes that an entry needs beside its value are the same for all names that have a number.
  constexpr size_t added = 5;
  const std::string_view id = exchange.hasRequestId() ? exchange.requestId() : std::string_view();
  const size_t bytes = added * http::FieldList::bytesFor({}, {}, FieldName::via) + address.size() +
                       client.scheme().size() + host.size() + via.size() + id.size();
  if (!exchange.makeRoom(bytes)) return false;
  http::FieldList& fields = head.fields;
  const auto add = [&fields](FieldName id, std::string_view value) {
    return value.empty() || fields.add(http::nameOf(id), value, id);
  };
  if (options.x_forwarded &&
      !(add(FieldName::x_forwarded_for, address) && add(FieldName::x_forwarded_proto, client.scheme()) &&
        add(FieldName::x_forwarded_host, host)))
    return false;
  return add(FieldName::x_request_id, id) && (!options.via || add(FieldName::via, via));
}

// The request has fields that stay at this hop, or to whose values plait adds.
bool replaceFields(Exchange& exchange, const ForwardOptions& options) {
  http::RequestHead& head = exchange.mutableRequest();
  const http::FieldList fields = head.fields;
  const http::ClientHop hop{exchange.client().address(), exchange.client().scheme(), head.authority,
                            options.trusted_proxies.contains(exchange.client().address())};
  http::ConnectionTokens tokens;
  for (size_t i = fields.find(FieldName::connection); i < fields.count();
       i = fields.find(FieldName::connection, i + 1)) {
    if (!http::parseConnectionValue(fields[i].value, tokens)) return false;
  }
  AddedFields additions;
  uint8_t values[5][most_text];
  char hops[16];
  if (hasMaxForwards(head)) {
    const size_t i = fields.find(FieldName::max_forwards);
    if (i != fields.count() && !http::isHopByHop(fields[i], tokens)) {
      additions.add(FieldName::max_forwards, decremented(fields[i].value, hops), fields[i].never_indexed);
    }
  }
  // A value that has grown too long starts anew with this hop: without any value the backend would take plait for the
  // client.
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
  const bool has_id = exchange.hasRequestId();
  if (has_id) additions.add(FieldName::x_request_id, exchange.requestId());
  const auto staysHere = [&](const http::Field& field) {
    if (http::mayBeHopByHop(field.id, tokens) && http::isHopByHop(field, tokens)) return true;
    switch (field.id) {
      case FieldName::expect:  // answered at this hop
        return true;
      case FieldName::via:
        return options.via;
      case FieldName::x_request_id:
        if (has_id) return true;
        break;
      case FieldName::max_forwards:
        return hasMaxForwards(head);
      case FieldName::x_forwarded_for:
      case FieldName::x_forwarded_proto:
      case FieldName::x_forwarded_host:
        if (options.x_forwarded) return true;
        break;
      case FieldName::forwarded:
        if (options.forwarded) return true;
        break;
      default:
        break;
    }
    // From a client that is no trusted proxy these are mere claims: they go even where nothing takes their place.
    return !hop.is_trusted && options.identity.claims(field);
  };
  head.fields.removeIf(staysHere);
  return additions.addTo(exchange);
}

}  // namespace

bool prepareRequest(Exchange& exchange, const ForwardOptions& options) {
  static constexpr http::FieldNameSet needing_care =
      http::hop_by_hop_names | IdentityFields::numbered |
      http::FieldNameSet{FieldName::expect, FieldName::via, FieldName::max_forwards, FieldName::x_request_id};
  http::RequestHead& head = exchange.mutableRequest();
  head.scheme = exchange.client().scheme();
  if (http::Pipe* body = exchange.requestBody()) body->setTrailerFilter(options.identity);
  // Most requests have none of these.
  const bool needs_care =
      options.forwarded || options.identity.hasAdded() ||
      head.fields.containsAny(needing_care, [&](const http::Field& field) { return options.identity.claims(field); });
  return needs_care ? replaceFields(exchange, options) : addFieldsOfThisHop(exchange, options);
}

Status addClientCertificate(Exchange& exchange, const ForwardOptions& options) {
  const TlsSession* const tls = exchange.client().is_tls ? exchange.tls() : nullptr;
  if (tls == nullptr || options.client_cert == ClientCertHint::off || !tls->context().asksForCertificates()) return {};
  const net::ClientCertificate shown = tls->clientCertificate();
  if (!shown) return {};
  char of_client[most_certificate_text];
  char of_envoy[most_certificate_text];
  const bool is_trusted = options.trusted_proxies.contains(exchange.client().address());
  const std::string_view whole = is_trusted ? std::string_view() : shown.clientCert(of_client);
  const std::string_view element = shown.forwardedClientCert(of_envoy);
  // A backend that misses one field only would take its client for one without a certificate.
  if (element.empty() || (whole.empty() && !is_trusted)) {
    return fail(streamError(ErrorCode::message_too_large, "the client's certificate is too long to be handed on"));
  }
  AddedFields additions;
  additions.add(FieldName::client_cert, whole, true);
  additions.add(FieldName::x_forwarded_client_cert, element, true);
  if (additions.addTo(exchange)) return {};
  return fail(streamError(ErrorCode::no_memory, "no memory is left for the client's certificate"));
}

std::string_view realClientOf(const http::RequestHead& request, const ClientInfo& client,
                              const ForwardOptions& options) {
  if (options.trusted_proxies.empty() || !options.trusted_proxies.contains(client.address())) return {};
  const http::FieldList& fields = request.fields;
  std::string_view real;
  for (size_t i = fields.find(FieldName::x_forwarded_for); i < fields.count();
       i = fields.find(FieldName::x_forwarded_for, i + 1)) {
    std::string_view list = fields[i].value;
    std::string_view element;
    while (http::nextListElement(list, element)) {
      if (!options.trusted_proxies.contains(element)) real = element;
    }
  }
  return unmapV4(real);
}

ClientKey clientKeyOf(const ClientInfo& client, std::string_view real_client) {
  // Many clients come over one connection of a proxy: each address has a share of its own.
  const uint64_t address = real_client.empty() ? 0 : TrustedProxies::numberOf(real_client);
  return address == 0 ? client.key() : ClientKey{address, address};
}

void adoptRequestId(Exchange& exchange, const ForwardOptions& options) {
  if (exchange.hasRequestId()) return;
  const http::FieldList& fields = exchange.request().fields;
  const size_t i = fields.find(FieldName::x_request_id);
  if (i == fields.count() || fields.find(FieldName::x_request_id, i + 1) != fields.count()) return;
  const std::string_view id = fields[i].value;
  if (http::RequestIds::isSane(id) && options.trusted_proxies.contains(exchange.client().address()))
    exchange.setRequestId(id);
}

bool ForwardAwaiter::await_ready() {
  http::Pipe& pipe = response_.pipe();
  const uint16_t status = response_.status();
  const bool is_bad_trial = request_.choice.is_trial && status >= 502 && status <= 504;
  if (is_bad_trial && request_.canReplay() && http::isIdempotent(request_.head.method)) {
    way_ = Way::failed_trial;
    return true;
  }
  Exchange& exchange = request_.exchange;
  const bool no_content = exchange.request().method == "HEAD" || status == 204 || status == 304;
  const bool is_empty = pipe.isEnded() && !pipe.isAborted() && pipe.bufferedBytes() == 0 && pipe.trailers() == nullptr;
  const bool ends = no_content || is_empty;
  // A response that only stopped is forwarded as far as it goes, and is visibly broken off.
  if (pipe.isAborted() && pipe.error().isGibberish() && !no_content) {
    way_ = Way::broken;
    return true;
  }
  const bool is_sent = request_.policy && request_.policy->changesResponse()
                           ? sendChangedHead(ends)
                           : exchange.sendHead(response_.head(), ends);
  if (ends) exchange.noteGrpcStatus(response_.head().fields);
  if (is_sent && !ends) {
    way_ = Way::relayed;
    return relay_.await_ready();
  }
  if (!is_sent) way_ = Way::refused;
  return true;
}

bool ForwardAwaiter::sendChangedHead(bool ends) {
  Exchange& exchange = request_.exchange;
  const RoutePolicy& policy = *request_.policy;
  ChangedHead changed(exchange.headerSlab());
  const Status made = changed.make(response_.head(), policy.response_fields, policy.hstsFor(exchange.client().is_tls),
                                   request_.variables());
  if (made) return exchange.sendHead(changed.head(), ends);
  request_.cause = made.error();
  return false;
}

Result<Outcome> ForwardAwaiter::await_resume() {
  switch (way_) {
    case Way::whole:
      break;
    case Way::relayed:
      if (Status relayed = relay_.await_resume(); !relayed) return fail(relayed.error());
      break;
    case Way::refused:
      if (request_.cause.code != ErrorCode::none) return fail(request_.cause);
      return fail(streamError(ErrorCode::cancelled, "the client is gone, or has no room for the response's head"));
    case Way::broken:
      return fail(response_.pipe().error());
    case Way::failed_trial:
      return fail(streamError(ErrorCode::ejected, "the trial was answered with 502, 503 or 504"));
  }
  const uint16_t status = response_.status();
  if (!request_.is_compared) return Outcome{status, false};
  static constexpr http::FieldNameSet grpc_status{FieldName::grpc_status};
  const std::string_view grpc = response_.head().fields.containsAny(grpc_status)
                                    ? response_.head().fields.value(FieldName::grpc_status)
                                    : std::string_view();
  return Outcome{status, status == 429 || status == 503 || grpc == "8" || grpc == "14"};
}

}  // namespace plait
