// HPACK against RFC 7541's own examples and against libnghttp2, in both directions.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "plait/h2/hpack_decoder.h"
#include "plait/h2/hpack_encoder.h"
#include "plait/h2/huffman.h"

namespace plait::h2 {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

std::vector<uint8_t> fromHex(std::string_view hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

Result<Fields> decode(HpackDecoder& decoder, Bytes block) {
  auto scratch = std::make_unique<HpackScratch>();
  Fields fields;
  HpackDecoder::Cursor cursor(block);
  DecodedField field{};
  while (true) {
    auto more = decoder.next(cursor, field, *scratch);
    if (!more) return fail(more.error());
    if (!*more) return fields;
    fields.emplace_back(field.name, field.value);
  }
}

TEST(Huffman, RoundTripsEveryByteAndRefusesBadPadding) {
  std::string all;
  for (int round = 0; round < 3; ++round) {
    for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  }
  std::vector<uint8_t> encoded(huffmanSize(all) + 8);
  encoded.resize(huffmanEncode(all, encoded.data()));
  EXPECT_EQ(encoded.size(), huffmanSize(all));
  std::vector<uint8_t> decoded(encoded.size() * 8 / 5 + 2);
  ASSERT_EQ(huffmanDecode(encoded, decoded.data()), static_cast<ptrdiff_t>(all.size()));
  EXPECT_EQ(asText({decoded.data(), all.size()}), all);
  uint8_t out[64];
  EXPECT_EQ(huffmanDecode(fromHex("18"), out), -1) << "'a' padded with zeros";
  EXPECT_EQ(huffmanDecode(fromHex("1fff"), out), -1) << "padding of more than seven bits";
  EXPECT_EQ(huffmanDecode(fromHex("fffffffc"), out), -1) << "EOS";
}

TEST(HpackDecoder, ReadsTheRequestsOfRfc7541AppendixC4) {
  ClassedSlab memory(4);
  HpackDecoder decoder(4096, memory);
  EXPECT_EQ(*decode(decoder, fromHex("828684418cf1e3c2e5f23a6ba0ab90f4ff")),
            (Fields{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "www.example.com"}}));
  EXPECT_EQ(*decode(decoder, fromHex("828684be5886a8eb10649cbf")), (Fields{{":method", "GET"},
                                                                           {":scheme", "http"},
                                                                           {":path", "/"},
                                                                           {":authority", "www.example.com"},
                                                                           {"cache-control", "no-cache"}}));
  EXPECT_EQ(*decode(decoder, fromHex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")),
            (Fields{{":method", "GET"},
                    {":scheme", "https"},
                    {":path", "/index.html"},
                    {":authority", "www.example.com"},
                    {"custom-key", "custom-value"}}));
  EXPECT_EQ(decoder.table().size(), 164u);
}

TEST(HpackDecoder, RefusesWhatWouldDesynchroniseTheTables) {
  for (const char* block : {"80", "ff80808080808080", "be", "3fe21f", "8220", "41", "418cf1"}) {
    ClassedSlab memory(4);
    HpackDecoder decoder(4096, memory);
    EXPECT_FALSE(decode(decoder, fromHex(block))) << block;
  }
}

TEST(HpackEncoder, NeverIndexedStaysSoAndEntersNoTable) {
  ClassedSlab memory(4);
  HpackEncoder encoder(memory);
  uint8_t out[256];
  const uint8_t* end = encoder.field(out, "authorization", "secret", http::FieldName::authorization, Indexing::never);
  EXPECT_EQ(out[0] & 0xf0, 0x10);
  EXPECT_EQ(encoder.table().count(), 0u);
  HpackDecoder decoder(4096, memory);
  auto scratch = std::make_unique<HpackScratch>();
  HpackDecoder::Cursor cursor({out, static_cast<size_t>(end - out)});
  DecodedField field{};
  ASSERT_TRUE(*decoder.next(cursor, field, *scratch));
  EXPECT_TRUE(field.never_indexed);
}

TEST(HpackEncoder, WritesStringsAsTheyAreWhereItIsToldTo) {
  ClassedSlab memory(4);
  HpackEncoder encoder(memory, StringCoding::plain);
  for (const size_t size : {size_t{0}, size_t{5}, size_t{126}, size_t{127}, size_t{128}, size_t{5000}}) {
    const std::string value(size, 'a');
    std::vector<uint8_t> out(HpackEncoder::bound(3, size));
    out.resize(static_cast<size_t>(encoder.field(out.data(), "x-a", value, http::FieldName::unknown, Indexing::avoid) -
                                   out.data()));
    EXPECT_GE(out.size(), 3 + size);
    HpackDecoder decoder(4096, memory);
    EXPECT_EQ(*decode(decoder, out), (Fields{{"x-a", value}})) << size;
  }
}

TEST(HpackEncoder, AFieldThatVariesEntersTheTableWhenItComesASecondTime) {
  ClassedSlab memory(DynamicTable::blocksFor(1));
  HpackEncoder encoder(memory);
  uint8_t out[256];
  const auto sizeOf = [&](std::string_view value) {
    return encoder.field(out, "etag", value, http::FieldName::etag, Indexing::repeated) - out;
  };
  EXPECT_GT(sizeOf("\"one\""), 1);
  EXPECT_GT(sizeOf("\"two\""), 1);
  EXPECT_GT(sizeOf("\"one\""), 1);
  EXPECT_EQ(encoder.table().count(), 0u);
  EXPECT_GT(sizeOf("\"one\""), 1);
  EXPECT_EQ(encoder.table().count(), 1u);
  EXPECT_EQ(sizeOf("\"one\""), 1);
}

TEST(HpackEncoder, TheFieldsThatVaryDoNotMakeEachOtherForgotten) {
  ClassedSlab memory(DynamicTable::blocksFor(1));
  HpackEncoder encoder(memory);
  uint8_t out[256];
  using http::FieldName;
  const FieldName names[] = {FieldName::etag, FieldName::content_length, FieldName::last_modified, FieldName::location};
  for (int round = 0; round < 3; ++round) {
    for (const FieldName id : names) {
      const uint8_t* end = encoder.field(out, http::nameOf(id), "the same", id, Indexing::repeated);
      EXPECT_EQ(end - out == 1, round == 2) << http::nameOf(id);
    }
  }
}

TEST(HpackEncoder, OneFieldLeavesItsNameSoThatOthersNeedNotSpellItOut) {
  ClassedSlab memory(DynamicTable::blocksFor(1));
  HpackEncoder encoder(memory);
  uint8_t out[256];
  const auto encoded = [&](std::string_view value) {
    const auto id = http::FieldName::x_forwarded_for;
    return std::vector<uint8_t>(out, encoder.field(out, http::nameOf(id), value, id, Indexing::avoid));
  };
  EXPECT_GT(encoded("192.0.2.1").size(), 15u);
  // The name by its index, and the value as a literal, even where it is the one in the table.
  for (const char* value : {"192.0.2.2", "192.0.2.1"}) {
    const std::vector<uint8_t> bytes = encoded(value);
    EXPECT_LT(bytes.size(), 12u);
    EXPECT_EQ(bytes[0] & 0xf0, 0x00);
  }
  EXPECT_EQ(encoder.table().count(), 1u);
}

TEST(HpackDecoder, AMalformedFieldIsKnownAsSuchEachTimeItsEntryIsNamed) {
  ClassedSlab memory(DynamicTable::blocksFor(1));
  HpackDecoder decoder(4096, memory);
  auto scratch = std::make_unique<HpackScratch>();
  // x: a\rb enters the table, then comes out of it twice; then :authority: a b, and a sound field.
  const std::vector<uint8_t> block = fromHex("40017803610d62bebe4103612062bfbe400179017abe");
  HpackDecoder::Cursor cursor(block);
  DecodedField field{};
  for (const bool is_sound : {false, false, false, false, false, false, true, true}) {
    ASSERT_TRUE(decoder.next(cursor, field, *scratch).value_or(false));
    EXPECT_EQ(field.is_sound, is_sound) << field.name;
  }
  EXPECT_FALSE(decoder.next(cursor, field, *scratch).value_or(true));
}

// The fields of real messages repeat; drawing from a small set makes table hits, evictions and size changes frequent.
Fields randomFields(std::mt19937& random) {
  static const std::vector<std::string> names = {":path", "accept", "cookie",    "x-request-id", "x-long-custom-name",
                                                 "date",  "etag",   "user-agent"};
  Fields fields;
  for (uint32_t count = random() % 20 + 1; count != 0; --count) {
    std::string value = random() % 3 == 0 ? std::string(random() % 600, static_cast<char>('a' + random() % 26))
                                          : std::to_string(random() % 30);
    if (random() % 10 == 0) value.push_back(static_cast<char>(random() % 200 + 33));
    fields.emplace_back(names[random() % names.size()], std::move(value));
  }
  return fields;
}

TEST(Hpack, WhatWeEncodeNghttp2DecodesByteForByte) {
  std::mt19937 random(7541);
  nghttp2_hd_inflater* inflater = nullptr;
  ASSERT_EQ(nghttp2_hd_inflate_new(&inflater), 0);
  ClassedSlab memory(4);
  HpackEncoder encoder(memory);
  for (int round = 0; round < 3000; ++round) {
    if (round % 100 == 50) {
      const uint32_t size = random() % 4097;
      encoder.setPeerTableSize(size);
      nghttp2_hd_inflate_change_table_size(inflater, size);
    }
    const Fields fields = randomFields(random);
    size_t bound = HpackEncoder::begin_bound;
    for (const auto& [name, value] : fields) bound += HpackEncoder::bound(name.size(), value.size());
    std::vector<uint8_t> block(bound);
    uint8_t* end = encoder.begin(block.data());
    for (const auto& [name, value] : fields) {
      end = encoder.field(end, name, value, http::fieldNameOf(name), static_cast<Indexing>(random() % 4));
    }
    const uint8_t* in = block.data();
    Fields decoded;
    while (true) {
      nghttp2_nv nv{};
      int flags = 0;
      const auto used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, in, static_cast<size_t>(end - in), 1);
      ASSERT_GE(used, 0) << nghttp2_strerror(static_cast<int>(used));
      in += used;
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        decoded.emplace_back(std::string(reinterpret_cast<char*>(nv.name), nv.namelen),
                             std::string(reinterpret_cast<char*>(nv.value), nv.valuelen));
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater);
    ASSERT_EQ(decoded, fields) << "round " << round;
    ASSERT_EQ(nghttp2_hd_inflate_get_dynamic_table_size(inflater), encoder.table().size());
  }
  nghttp2_hd_inflate_del(inflater);
}

// Tables that grow, are emptied by a setting and grow again lie in blocks of other sizes, and nothing that was
// remembered about one may be taken for the other.
TEST(Hpack, TablesStayInStepWhileTheirSizeChanges) {
  static constexpr http::FieldName names[] = {
      http::FieldName::x_forwarded_for,  http::FieldName::cookie,     http::FieldName::via,  http::FieldName::accept,
      http::FieldName::user_agent,       http::FieldName::origin,     http::FieldName::etag, http::FieldName::referer,
      http::FieldName::traceparent,      http::FieldName::x_real_ip,  http::FieldName::vary, http::FieldName::priority,
      http::FieldName::pseudo_authority, http::FieldName::grpc_status};
  std::mt19937 random(130);
  for (int run = 0; run < 200; ++run) {
    ClassedSlab memory(4);
    HpackEncoder encoder(memory);
    HpackDecoder decoder(4096, memory);
    for (int round = 0; round < 40; ++round) {
      if (random() % 4 == 0) {
        static constexpr uint32_t sizes[] = {0, 0, 100, 300, 1000, 4096, 4096};
        encoder.setPeerTableSize(sizes[random() % std::size(sizes)]);
      }
      Fields fields;
      uint8_t block[16 * 1024];
      uint8_t* out = encoder.begin(block);
      for (uint32_t i = random() % 20; i != 0; --i) {
        const http::FieldName id = random() % 4 == 0 ? http::FieldName::unknown : names[random() % std::size(names)];
        const std::string name =
            id == http::FieldName::unknown ? "x-" + std::to_string(random() % 30) : std::string(http::nameOf(id));
        const std::string value(random() % 60, static_cast<char>('a' + random() % 3));
        fields.emplace_back(name, value);
        out = encoder.field(out, name, value, id, static_cast<Indexing>(random() % 4));
      }
      const auto read = decode(decoder, {block, static_cast<size_t>(out - block)});
      ASSERT_TRUE(read.has_value()) << run << ": " << read.error().reason;
      ASSERT_EQ(*read, fields) << run;
      ASSERT_EQ(encoder.table().size(), decoder.table().size());
    }
  }
}

// Strings of every length around what the table holds, and far beyond what plait keeps of a message: whatever becomes
// of the message, both tables stay equal. An entry that is larger than the table empties it (RFC 7541 §4.4).
TEST(Hpack, StringsThatAreTooLongForAnythingLeaveTheTablesInStep) {
  std::mt19937 random(431);
  nghttp2_hd_inflater* inflater = nullptr;
  ASSERT_EQ(nghttp2_hd_inflate_new(&inflater), 0);
  ClassedSlab memory(4);
  HpackDecoder decoder(4096, memory);
  size_t emptied = 0;
  for (int round = 0; round < 1500; ++round) {
    std::vector<uint8_t> block;
    const auto addInteger = [&](uint8_t pattern, uint32_t prefix_bits, size_t value) {
      const size_t mask = (size_t{1} << prefix_bits) - 1;
      block.push_back(static_cast<uint8_t>(pattern | std::min(value, mask)));
      if (value < mask) return;
      for (value -= mask; value >= 128; value >>= 7) block.push_back(static_cast<uint8_t>(value | 128));
      block.push_back(static_cast<uint8_t>(value));
    };
    // Codes of five bits, of eight, and of thirteen, which are longer than what they stand for.
    const auto addString = [&](size_t size) {
      const std::string text(size, "a&~"[random() % 3]);
      std::vector<uint8_t> code(huffmanSize(text) + 8);
      const size_t code_size = huffmanEncode(text, code.data());
      const bool is_huffman = random() % 2 == 0 && code_size < 30'000;
      addInteger(is_huffman ? 0x80 : 0, 7, is_huffman ? code_size : size);
      const Bytes bytes = is_huffman ? Bytes(code).first(code_size) : asBytes(text);
      block.insert(block.end(), bytes.begin(), bytes.end());
    };
    const auto size = [&]() -> size_t {
      const uint32_t kind = random() % 8;
      return kind == 0 ? 4096 - 40 + random() % 80 : kind == 1 ? random() % 30'000 : random() % 100;
    };
    for (int i = 0; i < 3 && block.size() < 4096; ++i) {
      const bool is_inserted = random() % 3 != 0;
      const bool is_name_indexed = decoder.table().count() != 0 && i == 0 && random() % 3 == 0;
      addInteger(is_inserted ? 0x40 : 0x10, is_inserted ? 6 : 4, is_name_indexed ? 62 : 0);
      if (!is_name_indexed) addString(1 + size());
      addString(size());
    }
    Fields expected;
    const uint8_t* in = block.data();
    const uint8_t* const end = in + block.size();
    for (int flags = 0; (flags & NGHTTP2_HD_INFLATE_FINAL) == 0;) {
      nghttp2_nv nv{};
      const auto used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, in, static_cast<size_t>(end - in), 1);
      ASSERT_GE(used, 0) << nghttp2_strerror(static_cast<int>(used));
      in += used;
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0) continue;
      expected.emplace_back(std::string(reinterpret_cast<char*>(nv.name), nv.namelen),
                            std::string(reinterpret_cast<char*>(nv.value), nv.valuelen));
    }
    nghttp2_hd_inflate_end_headers(inflater);
    const uint32_t before = decoder.table().count();
    const auto decoded = decode(decoder, block);
    ASSERT_TRUE(decoded) << round << ": " << decoded.error().reason;
    ASSERT_EQ(*decoded, expected) << round;
    ASSERT_EQ(decoder.table().size(), nghttp2_hd_inflate_get_dynamic_table_size(inflater)) << round;
    emptied += before != 0 && decoder.table().count() == 0 ? 1 : 0;
  }
  EXPECT_GT(emptied, 20u);
  nghttp2_hd_inflate_del(inflater);
}

TEST(Hpack, WhatNghttp2EncodesWeDecodeByteForByte) {
  std::mt19937 random(9113);
  nghttp2_hd_deflater* deflater = nullptr;
  ASSERT_EQ(nghttp2_hd_deflate_new(&deflater, 4096), 0);
  ClassedSlab memory(4);
  HpackDecoder decoder(4096, memory);
  for (int round = 0; round < 3000; ++round) {
    if (round % 100 == 50) nghttp2_hd_deflate_change_table_size(deflater, random() % 4097);
    Fields fields = randomFields(random);
    std::vector<nghttp2_nv> nvs;
    for (auto& [name, value] : fields) {
      nvs.push_back({reinterpret_cast<uint8_t*>(name.data()), reinterpret_cast<uint8_t*>(value.data()), name.size(),
                     value.size(),
                     static_cast<uint8_t>(random() % 4 == 0 ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
    }
    std::vector<uint8_t> block(nghttp2_hd_deflate_bound(deflater, nvs.data(), nvs.size()));
    const auto size = nghttp2_hd_deflate_hd(deflater, block.data(), block.size(), nvs.data(), nvs.size());
    ASSERT_GE(size, 0);
    auto decoded = decode(decoder, {block.data(), static_cast<size_t>(size)});
    ASSERT_TRUE(decoded) << "round " << round;
    ASSERT_EQ(*decoded, fields) << "round " << round;
    ASSERT_EQ(nghttp2_hd_deflate_get_dynamic_table_size(deflater), decoder.table().size());
  }
  nghttp2_hd_deflate_del(deflater);
}

}  // namespace
}  // namespace plait::h2
