// The header of the PROXY protocol: any bytes are a header, the beginning of one, or refused; and what follows a header
// changes nothing about it.
#include "fuzz/target.h"
#include "plait/net/address.h"
#include "plait/net/proxy_protocol.h"

using namespace plait;
using namespace plait::fuzz;

namespace {

void requireAddress(const sockaddr_storage& address) {
  char text[address_text_size];
  const std::string_view formatted = formatAddress(address, text);
  require(!formatted.empty());
  const auto again = parseAddress(formatted);
  require(again && again->ss_family == address.ss_family && portOf(*again) == portOf(address));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> copy = exact({data, size});
  const auto header = net::readProxyHeader(copy);
  if (!header) {
    require(header.error().code == ErrorCode::protocol_error && header.error().reachesConnection());
    // What is refused stays refused, whatever follows.
    std::vector<uint8_t> more = copy;
    more.insert(more.end(), 8, 'x');
    require(!net::readProxyHeader(more));
    return 0;
  }
  if (!*header) {
    require(size < net::max_proxy_header);
    return 0;
  }
  const net::ProxyHeader& whole = **header;
  require(whole.size <= size && whole.size <= (copy[0] == 'P' ? net::max_proxy_header_v1 : net::max_proxy_header));
  if (whole.has_addresses) {
    requireAddress(whole.source);
    requireAddress(whole.destination);
  }
  for (const std::string_view name : {whole.alpn, whole.authority})
    require(name.empty() ||
            (asBytes(name).data() > copy.data() && asBytes(name).data() + name.size() <= copy.data() + whole.size));
  const std::vector<uint8_t> alone = exact(Bytes(copy).first(whole.size));
  const auto again = net::readProxyHeader(alone);
  require(again && *again && (*again)->size == whole.size && (*again)->alpn == whole.alpn);
  // Every beginning of it needs more.
  for (size_t cut = 0; cut < whole.size; cut += 1 + cut / 16) {
    const auto part = net::readProxyHeader(exact(Bytes(alone).first(cut)));
    require(part && !*part);
  }
  return 0;
}
