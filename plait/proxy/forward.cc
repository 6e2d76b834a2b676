#include "plait/proxy/forward.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "plait/http/field_rules.h"
#include "plait/http/forwarded.h"

namespace plait {

using http::FieldName;

void chooseAuthority(Exchange& exchange, const ForwardOptions& options, uint32_t backend_idx, http::RequestHead& out) {
  const BackendAuthority& backend = options.authorities[backend_idx];
  out.authority = !backend.fixed.empty() ? std::string_view(backend.fixed) : exchange.request().authority;
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

bool prepareRequest(Exchange& exchange, const ForwardOptions& options, http::HeaderBlock& block,
                    http::RequestHead& out) {
  const http::RequestHead& in = exchange.request();
  // Three forwarded values and Via come on top, each with what a client may have sent already. Mostly the block of the
  // client's own head has room for them, and the fields that go on are not copied.
  constexpr size_t added_bytes = 1024;
  const http::ClientHop hop{exchange.client().address(), exchange.client().scheme(), in.authority,
                            options.trusted_proxies.contains(exchange.client().address())};
  out = in;
  out.fields = in.fields.overlay();
  const bool is_overlay = out.fields.freeBytes().size() >= in.fields.heldBytes() + added_bytes;
  if (!is_overlay) {
    if (!block.reserve(in.fields.listSize() + added_bytes)) return false;
    out.fields = http::FieldList(block.memory());
  }
  http::ConnectionTokens tokens;
  for (size_t i = in.fields.find(FieldName::connection); i < in.fields.count();
       i = in.fields.find(FieldName::connection, i + 1)) {
    if (!http::parseConnectionValue(in.fields[i].value, tokens)) return false;
  }
  for (size_t i = 0; i < in.fields.count(); ++i) {
    const http::Field field = in.fields[i];
    if (http::mayBeHopByHop(field.id, tokens) && http::isHopByHop(field, tokens)) continue;
    switch (field.id) {
      case FieldName::expect:  // answered at this hop
        continue;
      // Ours follow where they are switched on. Those of a client that is no proxy of ours are claims of anybody, and
      // go even where nothing takes their place.
      case FieldName::x_forwarded_for:
      case FieldName::x_forwarded_proto:
      case FieldName::x_forwarded_host:
        if (options.x_forwarded || !hop.is_trusted) continue;
        break;
      case FieldName::forwarded:
        if (options.forwarded || !hop.is_trusted) continue;
        break;
      case FieldName::via:
        if (options.via) continue;
        break;
      case FieldName::max_forwards: {
        if (!hasMaxForwards(in)) break;
        char digits[16];
        if (!out.fields.add(field.name, lessened(field.value, digits), field.id, field.never_indexed)) return false;
        continue;
      }
      default:
        break;
    }
    const bool is_taken = is_overlay ? out.fields.addFrom(in.fields, i)
                                     : out.fields.add(field.name, field.value, field.id, field.never_indexed);
    if (!is_taken) return false;
  }
  out.scheme = exchange.client().scheme();
  uint8_t value[4096];
  const auto add = [&](FieldName id, std::string_view text) {
    return text.empty() || out.fields.add(http::nameOf(id), text, id);
  };
  // A value that has grown beyond all measure starts anew with what we know: without it the backend would take us for
  // the client.
  const http::FieldList none;
  const auto addGrown = [&](FieldName id, auto build) {
    const std::string_view text = build(in.fields);
    return add(id, text.empty() ? build(none) : text);
  };
  bool fits = true;
  if (options.x_forwarded) {
    fits = fits && addGrown(FieldName::x_forwarded_for, [&](const http::FieldList& fields) {
             return http::buildXForwardedFor(value, fields, hop);
           });
    fits = fits && add(FieldName::x_forwarded_proto, http::buildXForwardedProto(value, in.fields, hop));
    fits = fits && add(FieldName::x_forwarded_host, http::buildXForwardedHost(value, in.fields, hop));
  }
  if (options.forwarded) {
    fits = fits && addGrown(FieldName::forwarded,
                            [&](const http::FieldList& fields) { return http::buildForwarded(value, fields, hop); });
  }
  if (options.via) {
    fits = fits && addGrown(FieldName::via, [&](const http::FieldList& fields) {
             return http::buildVia(value, fields, in.version, pseudonym);
           });
  }
  return fits;
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
