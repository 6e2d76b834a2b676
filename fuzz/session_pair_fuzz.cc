// Our client and our server in one conversation that the input directs. Whatever the owners ask of them, neither may
// find fault with the other, and in the end every body has arrived.

#include "fuzz/target.h"
#include "plait/h2/wire_test.h"

using namespace plait;
using namespace plait::fuzz;
using namespace plait::h2;

namespace {

void exchange(wire::End& client, wire::End& server, size_t step) {
  while (!client.output.empty() || !server.output.empty()) {
    require(server.feed(client.takeOutput(), step));
    require(client.feed(server.takeOutput(), step));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  SessionConfig config;
  config.stream_window = 100 + data[0] * 400u;
  config.max_concurrent_streams = 1 + data[1] % 20u;
  wire::End client(Role::client, config), server(Role::server, config);
  client.session.start();
  server.session.start();
  for (size_t i = 2; i + 1 < size; i += 2) {
    const size_t step = data[i + 1] + 1u;
    wire::End& end = data[i] & 1 ? client : server;
    Stream* stream = end.streams.empty() ? nullptr : end.streams[data[i + 1] % end.streams.size()].get();
    const bool can_send = stream != nullptr && stream->maySend();
    switch (data[i] >> 1 & 7) {
      case 0:
      case 1:
        if (client.streams.size() < 64) client.open(data[i + 1] % 2 == 0);
        break;
      case 2:
        if (can_send && (&end == &client || stream->head_received)) {
          if (&end == &client) (void)end.session.sendData(*stream, wire::Wire(data[i + 1] * 100u, 'x'), data[i] >= 128);
        }
        break;
      case 3:
        if (can_send && &end == &server) {
          end.session.beginHeaders();
          end.session.addField(http::FieldName::pseudo_status, "200");
          end.session.addField("x", std::string(step, 'v'), http::FieldName::unknown,
                               static_cast<Indexing>(data[i] % 3));
          end.session.endHeaders(*stream, true);
        }
        break;
      case 4:
        if (can_send) end.session.sendReset(*stream, H2Error::cancel);
        break;
      case 5:
        end.session.sendPing(step);
        break;
      case 6:
        if (stream != nullptr) end.session.growStreamWindow(*stream, static_cast<uint32_t>(step * 1000));
        break;
      default:
        exchange(client, server, step);
        break;
    }
  }
  exchange(client, server, SIZE_MAX);
  return 0;
}
