// The examples of RFC 7541 Appendix C in both directions, and the edges of the tables and the code.
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "plait/base/random.h"
#include "plait/h2/frame.h"
#include "plait/h2/hpack_decoder.h"
#include "plait/h2/hpack_encoder.h"
#include "plait/h2/huffman.h"

namespace plait::h2 {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

std::string unhex(std::string_view hex) {
  std::string bytes;
  int high = -1;
  for (const char c : hex) {
    if (c == ' ' || c == '\n') continue;
    const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<char>(high * 16 + digit));
      high = -1;
    }
  }
  return bytes;
}

struct Decoder {
  explicit Decoder(uint32_t size = 4096) : decoder(size, memory) {}
  // The fields of a block; what was decoded so far when it is broken, and `ok` says so.
  Fields decode(std::string_view block) {
    Fields fields;
    never_indexed.clear();
    HpackDecoder::Cursor cursor(asBytes(block));
    DecodedField field{};
    while (true) {
      const auto more = decoder.next(cursor, field, *scratch);
      ok = more.has_value();
      if (!ok) detail = more.error().detail;
      if (!ok || !*more) return fields;
      fields.emplace_back(field.name, field.value);
      never_indexed.push_back(field.never_indexed);
      EXPECT_EQ(field.id, http::fieldNameOf(field.name)) << field.name;
    }
  }
  ClassedSlab memory{2};
  HpackDecoder decoder;
  std::unique_ptr<HpackScratch> scratch = std::make_unique<HpackScratch>();
  std::vector<bool> never_indexed;
  bool ok = true;
  uint32_t detail = 0;
};

std::string encode(HpackEncoder& encoder, const Fields& fields, Indexing indexing = Indexing::allow) {
  std::vector<uint8_t> out(256 * 1024);
  uint8_t* p = encoder.begin(out.data());
  for (const auto& [name, value] : fields) {
    const size_t bound = HpackEncoder::bound(name.size(), value.size());
    uint8_t* const after = encoder.field(p, name, value, http::fieldNameOf(name), indexing);
    EXPECT_LE(static_cast<size_t>(after - p), bound);
    p = after;
  }
  return std::string(reinterpret_cast<char*>(out.data()), static_cast<size_t>(p - out.data()));
}

const Fields first_request = {
    {":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "www.example.com"}};
const Fields second_request = {{":method", "GET"},
                               {":scheme", "http"},
                               {":path", "/"},
                               {":authority", "www.example.com"},
                               {"cache-control", "no-cache"}};
const Fields third_request = {{":method", "GET"},
                              {":scheme", "https"},
                              {":path", "/index.html"},
                              {":authority", "www.example.com"},
                              {"custom-key", "custom-value"}};

TEST(HuffmanCode, EveryByteSurvivesBothWaysAtEveryLength) {
  Random random(1);
  for (int round = 0; round < 4000; ++round) {
    std::string text(random.below(80), ' ');
    for (char& c : text) c = static_cast<char>(round % 2 == 0 ? random.below(256) : 32 + random.below(95));
    std::vector<uint8_t> encoded(huffmanSize(text) + 8);
    const size_t size = huffmanEncode(text, encoded.data());
    ASSERT_EQ(size, huffmanSize(text));
    // The exact size in the heap, so that a read behind the end is seen by ASan.
    const std::vector<uint8_t> input(encoded.begin(), encoded.begin() + static_cast<ptrdiff_t>(size));
    std::vector<uint8_t> decoded(size * 8 / 5 + 2);
    const ptrdiff_t count = huffmanDecode(input, decoded.data());
    ASSERT_EQ(count, static_cast<ptrdiff_t>(text.size()));
    ASSERT_EQ(std::string(decoded.begin(), decoded.begin() + count), text);
  }
}

TEST(HuffmanCode, PaddingThatIsTooLongOrNotOnesIsRefused) {
  uint8_t out[64];
  EXPECT_EQ(huffmanDecode(asBytes(unhex("07")), out), 1);   // '0' and 111
  EXPECT_EQ(huffmanDecode(asBytes(unhex("00")), out), -1);  // '0' and 000
  EXPECT_EQ(huffmanDecode(asBytes(unhex("07ff")), out), -1);
  EXPECT_EQ(huffmanDecode(asBytes(unhex("ffffffff")), out), -1);                // EOS
  EXPECT_EQ(huffmanDecode(asBytes(unhex("fffffffcffffffffffffff")), out), -1);  // EOS ahead of the last eight bytes
  EXPECT_EQ(huffmanDecode({}, out), 0);
}

TEST(HpackVectors, DecodesTheRequestsOfRfc7541AppendixC3AndC4) {
  for (const bool huffman : {false, true}) {
    Decoder decoder;
    EXPECT_EQ(decoder.decode(unhex(huffman ? "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"
                                           : "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d")),
              first_request);
    EXPECT_EQ(decoder.decoder.table().size(), 57u);
    EXPECT_EQ(decoder.decode(unhex(huffman ? "8286 84be 5886 a8eb 1064 9cbf" : "8286 84be 5808 6e6f 2d63 6163 6865")),
              second_request);
    EXPECT_EQ(decoder.decoder.table().size(), 110u);
    EXPECT_EQ(
        decoder.decode(unhex(huffman ? "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"
                                     : "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65")),
        third_request);
    EXPECT_EQ(decoder.decoder.table().size(), 164u);
    EXPECT_EQ(decoder.decoder.table().count(), 3u);
  }
}

TEST(HpackVectors, DecodesTheResponsesOfAppendixC6WithEviction) {
  Decoder decoder(256);
  const std::string date1 = "Mon, 21 Oct 2013 20:13:21 GMT";
  const std::string date2 = "Mon, 21 Oct 2013 20:13:22 GMT";
  const std::string where = "https://www.example.com";
  EXPECT_EQ(decoder.decode(unhex("4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b "
                                 "ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3")),
            (Fields{{":status", "302"}, {"cache-control", "private"}, {"date", date1}, {"location", where}}));
  EXPECT_EQ(decoder.decoder.table().size(), 222u);
  EXPECT_EQ(decoder.decode(unhex("4883 640e ffc1 c0bf")),
            (Fields{{":status", "307"}, {"cache-control", "private"}, {"date", date1}, {"location", where}}));
  EXPECT_EQ(decoder.decode(unhex(
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 "
                "e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07")),
            (Fields{{":status", "200"},
                    {"cache-control", "private"},
                    {"date", date2},
                    {"location", where},
                    {"content-encoding", "gzip"},
                    {"set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"}}));
  EXPECT_EQ(decoder.decoder.table().size(), 215u);
}

TEST(HpackVectors, EncodesTheRequestsOfAppendixC4ByteForByte) {
  ClassedSlab memory(2);
  HpackEncoder encoder(memory);
  EXPECT_EQ(encode(encoder, first_request), unhex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"));
  EXPECT_EQ(encode(encoder, second_request), unhex("8286 84be 5886 a8eb 1064 9cbf"));
  EXPECT_EQ(encode(encoder, third_request), unhex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"));
}

TEST(HpackVectors, FieldsThatMustNotBeIndexedLeaveTheTableAlone) {
  ClassedSlab memory(2);
  HpackEncoder encoder(memory);
  Decoder decoder;
  EXPECT_EQ(decoder.decode(encode(encoder, {{"cookie", "a=b"}, {"x-thing", "1"}}, Indexing::avoid)),
            (Fields{{"cookie", "a=b"}, {"x-thing", "1"}}));
  EXPECT_EQ(decoder.never_indexed, (std::vector<bool>{false, false}));
  EXPECT_EQ(decoder.decode(encode(encoder, {{"authorization", "secret"}}, Indexing::never)),
            (Fields{{"authorization", "secret"}}));
  EXPECT_EQ(decoder.never_indexed, (std::vector<bool>{true}));
  EXPECT_EQ(encoder.table().count(), 0u);
  EXPECT_EQ(decoder.decoder.table().count(), 0u);
  // Not even when the same field is in the table already: the literal says never, on every hop.
  (void)encode(encoder, {{"authorization", "secret"}});
  const std::string never = encode(encoder, {{"authorization", "secret"}}, Indexing::never);
  EXPECT_EQ(static_cast<uint8_t>(never[0]) & 0xf0, 0x10);
}

TEST(HpackVectors, BrokenBlocksAreCompressionErrors) {
  const char* const broken[] = {
      "80",                 // index 0
      "be",                 // an index behind the static table of an empty dynamic one
      "ff",                 // an integer without its end
      "ff ffff ffff ff7f",  // an integer beyond 2^31
      "40 0a 61",           // a name that is cut off
      "40 01 61 05 61",     // a value that is cut off
      "40",                 // nothing behind a literal's first byte
      "82 20",              // a table size update behind a field
      "3f e2 1f",           // a table larger than ours (4097)
      "00 81 00 01 61",     // Huffman padding of zeros
  };
  for (const char* hex : broken) {
    Decoder decoder;
    decoder.decode(unhex(hex));
    EXPECT_FALSE(decoder.ok) << hex;
    EXPECT_EQ(decoder.detail, static_cast<uint32_t>(H2Error::compression_error)) << hex;
  }
}

TEST(HpackVectors, TheSmallestTableSizeIsAnnouncedBeforeTheLastOne) {
  ClassedSlab memory(2);
  HpackEncoder encoder(memory);
  Decoder decoder;
  decoder.decode(encode(encoder, third_request));
  ASSERT_EQ(encoder.table().count(), 2u);
  encoder.setPeerTableSize(0);
  encoder.setPeerTableSize(2048);
  const std::string block = encode(encoder, third_request);
  EXPECT_EQ(block.substr(0, 4), unhex("20 3f e1 0f"));
  EXPECT_EQ(decoder.decode(block), third_request);
  EXPECT_EQ(decoder.decoder.table().limit(), 2048u);
  EXPECT_EQ(encoder.table().size(), decoder.decoder.table().size());
  encoder.setPeerTableSize(1u << 30);  // never more than our own bound
  EXPECT_EQ(decoder.decode(encode(encoder, first_request)), first_request);
  EXPECT_EQ(encoder.table().limit(), DynamicTable::max_size);
}

TEST(HpackVectors, AnEntryLargerThanTheTableEmptiesIt) {
  ClassedSlab memory(2);
  DynamicTable table(memory);
  table.setLimit(64);
  table.insert("a", "b", http::FieldName::unknown);
  EXPECT_EQ(table.count(), 1u);
  table.insert(std::string(40, 'n'), "v", http::FieldName::unknown);
  EXPECT_EQ(table.count(), 0u);
  EXPECT_EQ(table.size(), 0u);
}

TEST(HpackVectors, AnEntryMayBeMadeOfTheOneThatItEvicts) {
  ClassedSlab memory(2);
  DynamicTable table(memory);
  const std::string name(1500, 'n');
  for (int i = 0; i < 100; ++i) {
    const std::string value(1900 + static_cast<size_t>(i) % 50, static_cast<char>('a' + i % 26));
    table.insert(i == 0 ? std::string_view(name) : table.at(table.count() - 1).name, value, http::FieldName::unknown);
    ASSERT_EQ(table.count(), 1u);
    ASSERT_EQ(table.at(0).name, name);
    ASSERT_EQ(table.at(0).value, value);
  }
}

// One table at a time is the model: a list of strings with RFC 7541's arithmetic.
TEST(HpackVectors, ATableTakesTheMemoryThatItsEntriesNeedAndKeepsThemAllWhileItGrows) {
  ClassedSlab memory(DynamicTable::blocksFor(1));
  std::mt19937 random(4096);
  {
    DynamicTable table(memory);
    EXPECT_EQ(memory.used(), 0u) << "an empty table holds nothing";
    std::deque<std::pair<std::string, std::string>> model;
    size_t size = 0;
    for (int round = 0; round < 20'000; ++round) {
      if (round % 1000 == 999) {
        const uint32_t limit = random() % 4097;
        table.setLimit(limit);
        while (size > limit) {
          size -= model.back().first.size() + model.back().second.size() + 32;
          model.pop_back();
        }
      }
      const uint32_t longest = round / 1000 % 2 == 0 ? 20 : 700;
      std::string name(random() % 20 + 1, static_cast<char>('a' + random() % 26));
      std::string value(random() % longest, static_cast<char>('a' + random() % 26));
      const size_t needed = name.size() + value.size() + 32;
      EXPECT_EQ(table.insert(name, value, http::FieldName::unknown), needed <= table.limit());
      size += needed;
      model.emplace_front(std::move(name), std::move(value));
      while (size > table.limit()) {
        size -= model.back().first.size() + model.back().second.size() + 32;
        model.pop_back();
      }
      ASSERT_EQ(table.count(), model.size());
      ASSERT_EQ(table.size(), size);
      ASSERT_EQ(memory.used(), model.empty() ? 0u : 1u);
      for (uint32_t i = 0; i < table.count(); ++i) {
        ASSERT_EQ(table.at(i).name, model[i].first);
        ASSERT_EQ(table.at(i).value, model[i].second);
        ASSERT_EQ(table.entryIn(table.slotOf(i)), i);
      }
    }
  }
  EXPECT_EQ(memory.used(), 0u);
}

TEST(HpackVectors, WhatWasEncodedBeforeTheTableGrewIsStillFound) {
  ClassedSlab memory(DynamicTable::blocksFor(2));
  HpackEncoder encoder(memory);
  HpackDecoder decoder(DynamicTable::max_size, memory);
  Fields all;
  for (int i = 0; i < 60; ++i) {
    all.push_back({"x-" + std::to_string(i), std::string(static_cast<size_t>(i) % 30, 'v')});
    (void)encode(encoder, {all.back()});
  }
  // Sixty entries of up to 65 bytes fit: each is now one byte, or two. Where two of them share a bucket the older one
  // is written anew, which few are.
  size_t indexed = 0;
  for (const auto& field : all) indexed += encode(encoder, {field}).size() <= 2 ? 1 : 0;
  EXPECT_GE(indexed, 45u);
}

}  // namespace
}  // namespace plait::h2
