// Response heads: never a read outside the input, and what was accepted can be written for a client.

#include "fuzz/target.h"
#include "plait/base/byte_queue.h"
#include "plait/h1/parser.h"
#include "plait/h1/writer.h"

using namespace plait;
using namespace plait::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  constexpr std::string_view methods[] = {"GET", "HEAD", "CONNECT", "POST"};
  const std::string_view method = methods[data[0] % 4];
  const Bytes input(data + 1, size - 1);
  const h1::Limits limits;
  alignas(8) static uint8_t memory[48 * 1024];
  static BlockSlab blocks(16 * 1024, 16);
  http::ResponseHead head;
  head.fields = http::FieldList(memory);
  size_t scanned = 0;
  const auto parsed = h1::parseResponseHead(input, scanned, head, method, limits);
  if (!parsed) {
    require(parsed.error().status == 502);
    return 0;
  }
  if (!parsed->complete) return 0;
  require(parsed->consumed <= input.size());
  require(head.status >= 100 && head.status <= 999);
  for (const http::Field& field : head.fields)
    require(http::isLowerCaseToken(field.name) && http::isFieldValue(field.value));
  ByteQueue out(blocks);
  if (head.status >= 200) {
    const auto framing = h1::writeResponseHead(out, head, {.request_method = method});
    require(framing.has_value());
    require((*framing == h1::BodyFraming::none) == (parsed->framing == h1::BodyFraming::none));
  } else if (head.status != 101) {
    require(h1::writeInterimHead(out, head.status, head.fields).has_value());
  }
  return 0;
}
