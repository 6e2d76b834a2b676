// A client's session fed with anything: whole and in pieces must agree, in events and in answers, and no memory stays
// behind. The first byte chooses the size of the pieces.
#include <cstdlib>

#include "plait/h2/wire_test.h"

using namespace plait;
using namespace plait::h2;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void run(Bytes bytes, size_t step, std::string& log, wire::Wire& output) {
  wire::End end(Role::client);
  end.session.start();
  for (int i = 0; i < 6 && Role::client == Role::client; ++i)
    end.open(i % 2 == 0, i == 3 ? "HEAD" : i == 4 ? "CONNECT" : "GET");
  (void)end.feed(bytes, step);
  // What goes out must not depend on what became of the streams.
  for (const auto& stream : end.streams) {
    require(stream->receive_window.size() <= FlowWindow::max_size);
    if (!stream->isClosed()) end.session.sendReset(*stream, H2Error::cancel);
  }
  log = end.log;
  output = end.takeOutput();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  // The opening is given, so that every input gets behind it.
  wire::Wire wire = Role::client == Role::server ? wire::text(client_preface) : wire::Wire();
  wire = wire::operator+(std::move(wire), wire::frame(FrameType::settings, 0, 0));
  wire.insert(wire.end(), data + 1, data + size);
  static std::string log, log_in_pieces;
  static wire::Wire output, output_in_pieces;
  run(wire, SIZE_MAX, log, output);
  run(wire, data[0] % 64u + 1, log_in_pieces, output_in_pieces);
  require(log == log_in_pieces);
  require(output == output_in_pieces);
  return 0;
}
