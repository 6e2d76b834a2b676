// Request heads: whole and in pieces must agree, and what was accepted must survive being written and read again.
#include <algorithm>
#include <cstring>
#include <memory>

#include "fuzz/target.h"
#include "plait/base/byte_queue.h"
#include "plait/h1/parser.h"
#include "plait/h1/writer.h"

using namespace plait;
using namespace plait::fuzz;

namespace {

struct Parsed {
  alignas(8) uint8_t memory[48 * 1024];
  http::RequestHead head;
  h1::ParseResult<h1::HeadParse> result;

  void parse(Bytes input, size_t& scanned, const h1::Limits& limits) {
    head.fields = http::FieldList(memory);
    result = h1::parseRequestHead(input, scanned, head, limits);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const h1::Limits limits;
  static Parsed whole, pieces, again;
  static BlockSlab blocks(16 * 1024, 16);
  size_t scanned = 0;
  whole.parse({data, size}, scanned, limits);

  // Growing prefixes with a kept hint, in steps drawn from the input's size.
  size_t resumed = 0;
  const size_t step = size / 7 + 1;
  for (size_t end = 0;; end = std::min(size, end + step)) {
    const std::unique_ptr<uint8_t[]> part(new uint8_t[end]);
    if (end != 0) std::memcpy(part.get(), data, end);
    pieces.parse({part.get(), end}, resumed, limits);
    if (end == size || !pieces.result || pieces.result->complete) break;
  }
  if (whole.result && whole.result->complete) {
    require(pieces.result && pieces.result->complete && pieces.result->consumed == whole.result->consumed);
  }
  if (!whole.result || !whole.result->complete) return 0;

  require(whole.result->consumed <= size);
  for (const http::Field& field : whole.head.fields) {
    require(http::isLowerCaseToken(field.name));
    require(http::isFieldValue(field.value));
    require(field.id == http::fieldNameOf(field.name));
  }
  ByteQueue out(blocks);
  const auto framing = h1::writeRequestHead(out, whole.head);
  // An HTTP/1.0 request may lack what CONNECT or a Host needs; every other accepted head can be forwarded.
  if (!framing) return 0;
  static uint8_t text[64 * 1024];
  size_t text_size = 0;
  while (!out.empty()) {
    const Bytes front = out.front();
    require(text_size + front.size() <= sizeof(text));
    std::memcpy(text + text_size, front.data(), front.size());
    text_size += front.size();
    out.consume(front.size());
  }
  if (whole.head.authority.empty()) return 0;
  const h1::Limits wider{.start_line_size = 16 * 1024, .fields_size = 60 * 1024, .field_count = 200};
  size_t scanned_again = 0;
  again.parse({text, text_size}, scanned_again, wider);
  require(again.result.has_value() && again.result->complete && again.result->consumed == text_size);
  require(again.head.path == whole.head.path && again.head.authority == whole.head.authority);
  require(again.head.protocol == whole.head.protocol);
  require(again.result->framing == *framing);
  return 0;
}
