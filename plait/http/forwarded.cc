#include "plait/http/forwarded.h"

#include "plait/http/field_rules.h"

namespace plait::http {
namespace {

// Text into a buffer of fixed size; once something did not fit, nothing more does.
class Builder {
 public:
  explicit Builder(MutableBytes buffer) : buffer_(buffer) {}

  void put(std::string_view text) {
    if (text.size() > buffer_.size() - size_) overflowed_ = true;
    if (overflowed_ || text.empty()) return;
    std::memcpy(buffer_.data() + size_, text.data(), text.size());
    size_ += text.size();
  }
  // A quoted-string, RFC 9110 §5.6.4.
  void putQuoted(std::string_view text) {
    put("\"");
    for (const char& c : text) {
      if (c == '"' || c == '\\') put("\\");
      put({&c, 1});
    }
    put("\"");
  }
  void putTokenOrQuoted(std::string_view text) { isToken(text) ? put(text) : putQuoted(text); }
  // Every line of that field, comma-separated, with a separator behind when there was any.
  void putExisting(const FieldList& fields, FieldName name) {
    for (const Field& field : fields) {
      if (field.id != name || field.value.empty()) continue;
      put(field.value);
      put(", ");
    }
  }
  std::string_view text() const {
    if (overflowed_) return {};
    return asText(buffer_.first(size_));
  }

 private:
  MutableBytes buffer_;
  size_t size_ = 0;
  bool overflowed_ = false;
};

std::string_view keepOrReplace(MutableBytes buffer, const FieldList& fields, const ClientHop& hop, FieldName name,
                               std::string_view own) {
  Builder builder(buffer);
  const std::string_view existing = hop.is_trusted ? fields.value(name) : std::string_view();
  builder.put(existing.empty() ? own : existing);
  return builder.text();
}

}  // namespace

std::string_view buildXForwardedFor(MutableBytes buffer, const FieldList& fields, const ClientHop& hop) {
  Builder builder(buffer);
  if (hop.is_trusted) builder.putExisting(fields, FieldName::x_forwarded_for);
  builder.put(hop.address.empty() ? "unknown" : hop.address);
  return builder.text();
}

std::string_view buildXForwardedProto(MutableBytes buffer, const FieldList& fields, const ClientHop& hop) {
  return keepOrReplace(buffer, fields, hop, FieldName::x_forwarded_proto, hop.scheme);
}

std::string_view buildXForwardedHost(MutableBytes buffer, const FieldList& fields, const ClientHop& hop) {
  return keepOrReplace(buffer, fields, hop, FieldName::x_forwarded_host, hop.host);
}

std::string_view buildForwarded(MutableBytes buffer, const FieldList& fields, const ClientHop& hop) {
  Builder builder(buffer);
  if (hop.is_trusted) builder.putExisting(fields, FieldName::forwarded);
  builder.put("for=");
  if (hop.address.empty()) {
    builder.put("unknown");
  } else if (hop.address.find(':') != std::string_view::npos) {
    // Neither brackets nor colons are token characters.
    builder.put("\"[");
    builder.put(hop.address);
    builder.put("]\"");
  } else {
    builder.put(hop.address);
  }
  if (!hop.host.empty()) {
    builder.put(";host=");
    builder.putTokenOrQuoted(hop.host);
  }
  if (!hop.scheme.empty()) {
    builder.put(";proto=");
    builder.put(hop.scheme);
  }
  return builder.text();
}

std::string_view buildVia(MutableBytes buffer, const FieldList& fields, Version version, std::string_view pseudonym) {
  Builder builder(buffer);
  builder.putExisting(fields, FieldName::via);
  switch (version) {
    case Version::http_1_0:
      builder.put("1.0 ");
      break;
    case Version::http_1_1:
      builder.put("1.1 ");
      break;
    case Version::http_2:
      builder.put("2.0 ");
      break;
  }
  builder.put(pseudonym);
  return builder.text();
}

}  // namespace plait::http
