#include "plait/route/host_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "plait/base/assert.h"
#include "plait/http/field_rules.h"

namespace plait::route {
namespace {

bool isUpper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool isLabelByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

}  // namespace

std::string_view normalHost(std::string_view authority, char (&buffer)[max_host]) {
  std::string_view host = authority;
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end != std::string_view::npos) host = host.substr(0, end + 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.size() > max_host) return {};
  bool has_upper = false;
  for (const char c : host) has_upper |= isUpper(c);
  if (!has_upper) return host;
  std::transform(host.begin(), host.end(), buffer, [](char c) { return isUpper(c) ? static_cast<char>(c + 32) : c; });
  return {buffer, host.size()};
}

std::string readHostPattern(std::string_view written, std::string& pattern) {
  if (written.empty()) return "is empty";
  if (written == "*") return "stands for every host: leave it out";
  if (http::isIpv6Address(written)) return "needs brackets: [" + std::string(written) + "]";
  const bool is_bracketed = written.starts_with('[');
  const size_t colon =
      is_bracketed ? written.find(':', std::min(written.find(']'), written.size())) : written.find(':');
  if (colon != std::string_view::npos) return "has a port: routes do not look at ports";
  char buffer[max_host];
  const std::string_view host = normalHost(written, buffer);
  if (host.empty()) return "is longer than 255 bytes";
  pattern = host;
  if (is_bracketed) {
    if (!host.ends_with(']') || !http::isIpv6Address(host.substr(1, host.size() - 2))) return "is no IPv6 address";
    return "";
  }
  std::string_view name = host;
  if (isWildcard(name)) name.remove_prefix(2);
  bool is_label_empty = true;
  for (const char c : name) {
    if (c == '.' && is_label_empty) return "has an empty label";
    is_label_empty = c == '.';
    if (c == '*') return "has a \"*\" that is not its whole first label";
    if (static_cast<uint8_t>(c) >= 0x80) return "is not in ASCII: write it as requests have it, with xn--";
    if (c != '.' && !isLabelByte(c)) return "has a byte that no host has";
  }
  return is_label_empty ? "has an empty label" : "";
}

bool matchesHost(std::string_view pattern, std::string_view host) {
  if (!isWildcard(pattern)) return host == pattern;
  const std::string_view suffix = pattern.substr(1);
  return host.size() > suffix.size() && host.ends_with(suffix);
}

void HostTable::build(std::span<const Entry> entries, const Site* without_host, const SipKey& key) {
  key_ = key;
  has_without_host_ = without_host != nullptr;
  if (has_without_host_) without_host_ = *without_host;
  slots_.assign(std::bit_ceil(entries.size() * 2 + 1), Slot());
  size_t text_size = 0;
  for (const Entry& entry : entries) text_size += entry.pattern.size();
  text_.clear();
  text_.reserve(text_size);
  wildcard_labels_.reset();
  for (const Entry& entry : entries) {
    std::string_view name = entry.pattern;
    if (isWildcard(name)) {
      name.remove_prefix(1);
      const auto labels = static_cast<size_t>(std::count(name.begin(), name.end(), '.'));
      wildcard_labels_.set(labels);
      most_wildcard_labels_ = std::max(most_wildcard_labels_, labels);
    }
    const uint64_t hash = sipHash(key_, name);
    size_t place = hash & (slots_.size() - 1);
    while (slots_[place].size != 0) place = (place + 1) & (slots_.size() - 1);
    slots_[place] = {hash, static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(name.size()), entry.site};
    text_ += name;
  }
}

const Site* HostTable::find(std::string_view name) const {
  const uint64_t hash = sipHash(key_, name);
  for (size_t place = hash & (slots_.size() - 1);; place = (place + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[place];
    if (slot.size == 0) return nullptr;
    if (slot.hash == hash && slot.size == name.size() &&
        std::memcmp(text_.data() + slot.text, name.data(), name.size()) == 0)
      return &slot.site;
  }
}

const Site* HostTable::Cursor::next() {
  if (step_ == Step::exact) {
    step_ = table_.most_wildcard_labels_ == 0 ? Step::without_host : Step::wildcards;
    // A name that begins with a dot would be found where a wildcard's rest lies.
    if (!host_.empty() && host_.front() != '.') {
      const Site* site = table_.find(host_);
      if (site != nullptr) return site;
    }
  }
  if (step_ == Step::wildcards) {
    if (labels_ == 0) labels_ = static_cast<size_t>(std::count(host_.begin(), host_.end(), '.')) + 1;
    while (labels_ > 1) {
      const size_t dot = rest_.find('.');
      labels_ -= 1;
      const bool is_label_missing = rest_.size() == host_.size() && dot == 0;
      const std::string_view name = rest_.substr(dot);
      rest_.remove_prefix(dot + 1);
      if (is_label_missing || labels_ > table_.most_wildcard_labels_ || !table_.wildcard_labels_[labels_]) continue;
      const Site* site = table_.find(name);
      if (site != nullptr) return site;
    }
    step_ = Step::without_host;
  }
  if (step_ == Step::without_host) {
    step_ = Step::end;
    return table_.has_without_host_ ? &table_.without_host_ : nullptr;
  }
  return nullptr;
}

}  // namespace plait::route
