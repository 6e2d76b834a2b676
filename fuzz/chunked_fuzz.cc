// Chunked bodies: the same bytes whole and in pieces give the same data, the same end, and leave the same rest.
#include <algorithm>
#include <string>

#include "fuzz/target.h"
#include "plait/h1/body_decoder.h"

using namespace plait;
using namespace plait::fuzz;

namespace {

struct Outcome {
  std::string data;
  bool failed = false;
  bool ended = false;
  size_t consumed = 0;
  size_t trailer_count = 0;
};

Outcome decode(Bytes text, size_t step) {
  alignas(8) static uint8_t memory[16 * 1024];
  const h1::Limits limits;
  http::FieldList trailers(memory);
  h1::BodyDecoder decoder;
  decoder.start(h1::BodyFraming::chunked, 0, limits);
  Outcome outcome;
  size_t presented = 0;
  while (presented < text.size()) {
    presented = std::min(text.size(), presented + step);
    // A copy of exactly that size lets the sanitizer see a read behind its end.
    const std::string part(asText(text.subspan(outcome.consumed, presented - outcome.consumed)));
    Bytes input = asBytes(part);
    while (true) {
      const auto event = decoder.next(input, trailers);
      if (!event) {
        outcome.failed = true;
        return outcome;
      }
      if (event->kind == h1::BodyEvent::Kind::need_more) break;
      if (event->kind == h1::BodyEvent::Kind::end) {
        outcome.ended = true;
        outcome.trailer_count = trailers.count();
        break;
      }
      require(!event->data.empty());
      outcome.data += asText(event->data);
    }
    outcome.consumed += part.size() - input.size();
    if (outcome.ended) return outcome;
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Outcome whole = decode({data, size}, std::max<size_t>(size, 1));
  for (const size_t step : {size_t{1}, size / 3 + 1}) {
    const Outcome pieces = decode({data, size}, step);
    require(pieces.failed == whole.failed);
    require(pieces.ended == whole.ended);
    if (whole.failed) continue;
    require(pieces.data == whole.data);
    if (whole.ended) require(pieces.consumed == whole.consumed && pieces.trailer_count == whole.trailer_count);
  }
  return 0;
}
