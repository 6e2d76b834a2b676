// A backend's URL and the addresses beside it: any text is refused with a sentence, or means one host and port, that
// written again means the same.
#include "fuzz/target.h"
#include "plait/config/config.h"
#include "plait/http/field_rules.h"
#include "plait/net/address.h"

using namespace plait;
using namespace plait::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> copy = exact({data, size});
  const std::string_view text = asText(copy);
  BackendConfig backend;
  const std::string refusal = parseBackendUrl(text, backend);
  if (refusal.empty()) {
    require(!backend.name.empty() && backend.port != 0);
    require(http::isAuthority(backend.name) || backend.name.find(':') != backend.name.npos);
    for (const char c : backend.name) require(c > ' ' && c < 0x7f && c != '/' && c != '?' && c != '#' && c != '@');
    BackendConfig again;
    const std::string scheme = backend.protocol == BackendProtocol::h2c     ? "h2c://"
                               : backend.protocol == BackendProtocol::https ? "https://"
                               : backend.protocol == BackendProtocol::h1    ? "http://"
                                                                            : "";
    // The authority leaves port 80 out, which these two forms do not imply.
    const bool needs_port = backend.port == 80 && (scheme.empty() || scheme == "h2c://");
    require(parseBackendUrl(scheme + authorityOf(backend) + (needs_port ? ":80" : ""), again).empty());
    require(again.protocol == backend.protocol && again.name == backend.name && again.port == backend.port);
  }
  const auto parts = splitHostPort(text);
  if (parts) require(parts->host.size() <= text.size());
  sockaddr_storage address{};
  if (parseListenAddress(text, address).empty()) {
    char written[address_text_size];
    const std::string_view formatted = formatAddress(address, written);
    require(!formatted.empty());
    sockaddr_storage again{};
    require(parseListenAddress(formatted, again).empty());
    char written_again[address_text_size];
    require(formatAddress(again, written_again) == formatted);
  }
  return 0;
}
