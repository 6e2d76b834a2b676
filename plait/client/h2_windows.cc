// Windows of streams towards a backend that speaks HTTP/2, beyond the one that each has for itself.
#include <algorithm>

#include "plait/base/rare.h"
#include "plait/client/h2_connection.h"
#include "plait/client/pool.h"

namespace plait {
namespace {

// Windows grow where a round trip is so long that it counts. On a short path what waits in larger ones only pushes
// other bytes out of the caches (docs/performance.md), and a turn of a busy loop is long enough to be taken for a wire.
constexpr TimeNs long_round_trip_ns = 2 * ns_per_ms;
// A stream begins with the window that others on its connection have grown to, and no larger than this: nobody knows
// yet how long its response is.
constexpr uint32_t largest_first_window = 256 << 10;

// More of the response is to come than its stream's window has room for.
bool exceedsWindow(const h2::Stream& stream) {
  return stream.content_left > stream.receive_window.available();
}

}  // namespace

void H2UpstreamStream::giveWindowBack() {
  if (lent_blocks == 0) return;
  // The rest of what is being delivered at this moment is not in the pipe yet.
  const size_t most = response_pipe.bufferedBytes() + pool_.loopLimits().receive_buffer_size;
  pool_.windows().shrink(static_cast<uint32_t>(most), lent_blocks);
}

void H2Connection::beginWithLearntWindow(H2UpstreamStream& stream) {
  if (!pool_.windows().isAmple()) return;
  PLAIT_RARE("a stream begins with the window that its connection has learnt");
  growWindow(stream, std::min(learnt_window_, largest_first_window));
}

void H2Connection::learn(H2UpstreamStream& stream, size_t count) {
  const TimeNs now_ns = pool_.io().nowNs();
  const uint32_t window = stream.receive_window_size;
  const auto taken = stream.growth_.take(count, window, now_ns, round_trip_.ns());
  if (stream.lent_blocks != 0 && pool_.windows().isScarce()) count -= withheld(stream, count);
  // Where the rest fits into the window there is nothing to learn. Without Content-Length nobody knows, before a whole
  // window has been taken.
  const bool may_be_long = stream.content_left != http::unknown_length || taken != h2::WindowGrowth::Taken::part;
  if (may_be_long && exceedsWindow(stream) && round_trip_.isDue(now_ns)) session_.sendPing(round_trip_.ask(now_ns));
  const uint32_t most = mostOf(window);
  if (taken == h2::WindowGrowth::Taken::fast && most > window && exceedsWindow(stream)) {
    // The credit goes with the update that the growth is announced by.
    stream.credit += static_cast<uint32_t>(count);
    count = 0;
    growWindow(stream, static_cast<uint32_t>(std::min<uint64_t>(uint64_t{window} * 2, most)));
  }
  session_.creditStream(stream, count);
  sock_.flushLater();
}

bool H2Connection::takeRoundTrip(uint64_t opaque) {
  const TimeNs now_ns = pool_.io().nowNs();
  if (!round_trip_.take(opaque, now_ns)) return false;
  const uint32_t own = pool_.loopLimits().upstream_stream_window;
  if (mostOf(own) == own) learns_from_ns_ = now_ns + h2::RoundTrip::pause_ns;
  return true;
}

uint32_t H2Connection::mostOf(uint32_t window) const {
  return isLong() ? h2::FlowWindow::max_size : pool_.windows().mostNearBy(window);
}

bool H2Connection::isLong() const {
  return round_trip_.ns() >= long_round_trip_ns;
}

size_t H2Connection::promisedBlocks() {
  size_t blocks = 0;
  for (h2::Stream* item = session_.streams().front(); item != nullptr; item = session_.streams().next(*item)) {
    const auto& stream = static_cast<H2UpstreamStream&>(*item);
    size_t bytes = stream.response_pipe.bufferedBytes();
    if (stream.mayReceive()) bytes += stream.receive_window.available() + stream.credit;
    blocks += pool_.windows().blocksFor(static_cast<uint32_t>(bytes));
  }
  return blocks;
}

void H2Connection::growWindow(H2UpstreamStream& stream, uint32_t wanted) {
  const uint32_t size = pool_.windows().grow(stream.receive_window_size, wanted, stream.lent_blocks);
  if (size == stream.receive_window_size) return;
  session_.growStreamWindow(stream, size);
  if (isLong()) learnt_window_ = std::max(learnt_window_, size);
}

// A window that was granted cannot be taken back, but what is taken of it need not be given anew.
size_t H2Connection::withheld(H2UpstreamStream& stream, size_t count) {
  if (!stream.growth_.isSlow(pool_.io().nowNs(), round_trip_.ns())) return 0;
  const uint32_t least = pool_.loopLimits().upstream_stream_window;
  const size_t less = std::min<size_t>(count, stream.receive_window_size - least);
  stream.receive_window_size -= static_cast<uint32_t>(less);
  pool_.windows().shrink(stream.receive_window_size, stream.lent_blocks);
  return less;
}

}  // namespace plait
