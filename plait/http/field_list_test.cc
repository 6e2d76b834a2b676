#include "plait/http/field_list.h"

#include <gtest/gtest.h>

#include <string>

namespace plait::http {
namespace {

TEST(FieldName, EveryNameFindsItself) {
  for (size_t i = 1; i < field_name_count; ++i) {
    const auto name = static_cast<FieldName>(i);
    EXPECT_EQ(fieldNameOf(nameOf(name)), name) << nameOf(name);
    const std::string longer = std::string(nameOf(name)) + "x";
    EXPECT_EQ(fieldNameOf(longer), FieldName::unknown) << longer;
  }
  EXPECT_EQ(nameOf(FieldName::unknown), "");
  EXPECT_EQ(nameOf(FieldName::x_forwarded_for), "x-forwarded-for");
}

TEST(FieldName, OtherNamesAreUnknown) {
  for (const std::string_view name : {"", "a", "x-custom", "Host", "content_length", "content-lengti", "viaa",
                                      "a-name-that-is-longer-than-every-name-in-the-list"}) {
    EXPECT_EQ(fieldNameOf(name), FieldName::unknown) << name;
  }
}

struct Memory {
  alignas(8) uint8_t bytes[256];
};

TEST(FieldList, GivesBackWhatWasAdded) {
  Memory memory;
  FieldList fields(memory.bytes);
  EXPECT_EQ(fields.count(), 0u);
  EXPECT_TRUE(fields.add("accept", "*/*"));
  EXPECT_TRUE(fields.add("x-empty", "", FieldName::unknown));
  EXPECT_TRUE(fields.add("authorization", "secret", FieldName::authorization, true));
  EXPECT_TRUE(fields.add("accept", "text/html"));
  ASSERT_EQ(fields.count(), 4u);
  EXPECT_EQ(fields[0].id, FieldName::accept);
  EXPECT_EQ(fields[1].name, "x-empty");
  EXPECT_EQ(fields[1].value, "");
  EXPECT_TRUE(fields[2].never_indexed);
  EXPECT_EQ(fields.value(FieldName::accept), "*/*");
  EXPECT_EQ(fields.find(FieldName::accept, 1), 3u);
  EXPECT_EQ(fields.find("x-empty"), 1u);
  EXPECT_EQ(fields.find("x-absent"), fields.count());
  EXPECT_FALSE(fields.contains(FieldName::host));
  EXPECT_EQ(fields.value(FieldName::host), "");
  EXPECT_EQ(fields.listSize(), 6u + 3 + 7 + 13 + 6 + 6 + 9 + 4 * 32);
  size_t seen = 0;
  for (const Field& field : fields) seen += field.name.size();
  EXPECT_EQ(seen, 6u + 7 + 13 + 6);
}

TEST(FieldList, IsFullWithoutChangingAndWithoutOverlap) {
  Memory memory;
  FieldList fields(MutableBytes(memory.bytes).first(64));
  EXPECT_TRUE(fields.add("name", std::string(44, 'v'), FieldName::unknown));  // 16 + 48 bytes: exactly full
  EXPECT_FALSE(fields.add("", "", FieldName::unknown));
  EXPECT_EQ(fields.count(), 1u);
  EXPECT_TRUE(fields.freeBytes().empty());
  EXPECT_EQ(fields.keep("x").data(), nullptr);
  EXPECT_NE(fields.keep("").data(), nullptr);
  EXPECT_EQ(fields[0].value, std::string(44, 'v'));
  fields.clear();
  EXPECT_EQ(fields.listSize(), 0u);
  EXPECT_FALSE(fields.add("name", std::string(45, 'v'), FieldName::unknown));
  EXPECT_EQ(fields.count(), 0u);
}

TEST(FieldList, WithoutMemoryHoldsNothing) {
  FieldList fields;
  EXPECT_FALSE(fields.add("a", "b", FieldName::unknown));
  EXPECT_EQ(fields.keep("a").data(), nullptr);
  EXPECT_TRUE(fields.freeBytes().empty());
}

TEST(FieldList, DecodersCommitWhatTheyWroteInPlace) {
  Memory memory;
  FieldList fields(memory.bytes);
  EXPECT_EQ(fields.keep("GET"), "GET");
  MutableBytes free = fields.freeBytes();
  EXPECT_EQ(free.size(), sizeof(memory.bytes) - 3 - 16);
  std::memcpy(free.data(), "viaplait", 8);
  fields.commit(3, 5, FieldName::via, false);
  EXPECT_EQ(fields.value(FieldName::via), "plait");
  // Text written into the free bytes may be kept although it overlaps its destination.
  free = fields.freeBytes();
  std::memcpy(free.data(), "hostexample.org", 15);
  EXPECT_EQ(fields.keep(asText(free.subspan(4, 11))), "example.org");
}

TEST(FieldList, AppendsAllOrNothing) {
  Memory memory, other_memory;
  FieldList fields(MutableBytes(memory.bytes).first(96));
  FieldList other(other_memory.bytes);
  ASSERT_TRUE(fields.add("a", "1", FieldName::unknown));
  ASSERT_TRUE(other.add("b", "2", FieldName::unknown));
  EXPECT_TRUE(fields.append(other));
  EXPECT_EQ(fields.count(), 2u);
  ASSERT_TRUE(other.add("c", std::string(100, 'x'), FieldName::unknown));
  const size_t size = fields.listSize();
  EXPECT_FALSE(fields.append(other));
  EXPECT_EQ(fields.count(), 2u);
  EXPECT_EQ(fields.listSize(), size);
  EXPECT_EQ(fields[1].value, "2");
}

TEST(FieldList, ACopyTakesKeptTextsWithItAndSaysWhereTheyAre) {
  Memory from, to;
  FieldList fields{from.bytes};
  const std::string_view method = fields.keep("GET");
  ASSERT_TRUE(fields.add("accept", "*/*"));
  const std::string_view path = fields.keep("/a");
  ASSERT_TRUE(fields.add("x-secret", "s", FieldName::unknown, true));
  FieldList copy{to.bytes};
  ASSERT_TRUE(copy.copyFrom(fields));
  const std::string elsewhere = "example.org";
  const std::string_view moved_method = copy.moved(method, fields);
  const std::string_view moved_path = copy.moved(path, fields);
  const std::string_view kept = copy.moved(elsewhere, fields);
  EXPECT_TRUE(copy.moved({}, fields).empty());
  std::memset(from.bytes, 0, sizeof(from.bytes));
  EXPECT_EQ(moved_method, "GET");
  EXPECT_EQ(moved_path, "/a");
  EXPECT_EQ(kept, elsewhere);
  EXPECT_NE(kept.data(), elsewhere.data());
  ASSERT_EQ(copy.count(), 2u);
  EXPECT_EQ(copy.listSize(), fields.listSize());
  EXPECT_EQ(copy[0].value, "*/*");
  EXPECT_EQ(copy[0].id, FieldName::accept);
  EXPECT_EQ(copy[1].name, "x-secret");
  EXPECT_TRUE(copy[1].never_indexed);
}

TEST(FieldList, ACopyThatDoesNotFitChangesNothing) {
  Memory from;
  FieldList fields{from.bytes};
  ASSERT_TRUE(fields.add("x-accept", "*/*"));
  alignas(8) uint8_t small[24];
  FieldList copy{small};
  EXPECT_FALSE(copy.copyFrom(fields));
  EXPECT_EQ(copy.count(), 0u);
}

TEST(FieldList, WhatIsRemovedIsGoneAndTheOthersKeepTheirOrderAndPlace) {
  Memory memory;
  FieldList fields{memory.bytes};
  ASSERT_TRUE(fields.add("connection", "close"));
  ASSERT_TRUE(fields.add("accept", "*/*"));
  ASSERT_TRUE(fields.add("x-hop", "1"));
  ASSERT_TRUE(fields.add("x-secret", "s", FieldName::unknown, true));
  const char* accepted = fields[1].value.data();
  fields.removeIf([](const Field& field) { return field.id == FieldName::connection || field.name == "x-hop"; });
  ASSERT_EQ(fields.count(), 2u);
  EXPECT_EQ(fields[0].value.data(), accepted);
  EXPECT_EQ(fields[1].name, "x-secret");
  EXPECT_TRUE(fields[1].never_indexed);
  EXPECT_EQ(fields.listSize(), 6 + 3 + 32 + 8 + 1 + 32u);
  EXPECT_FALSE(fields.contains(FieldName::connection));
  ASSERT_TRUE(fields.add("via", "2.0 plait"));
  EXPECT_EQ(fields[0].value, "*/*");
  EXPECT_EQ(fields[1].value, "s");
  EXPECT_EQ(fields[2].value, "2.0 plait");
  fields.removeIf([](const Field&) { return true; });
  EXPECT_EQ(fields.count(), 0u);
  EXPECT_EQ(fields.listSize(), 0u);
}

TEST(FieldList, ItKnowsWhetherAnyNameIsOneOfASet) {
  Memory memory;
  FieldList fields{memory.bytes};
  const FieldNameSet hops = FieldNameSet{FieldName::via} | FieldNameSet{FieldName::te, FieldName::connection};
  ASSERT_TRUE(fields.add("accept", "*/*"));
  ASSERT_TRUE(fields.add("x-te", "1"));
  EXPECT_FALSE(fields.containsAny(hops));
  ASSERT_TRUE(fields.add("via", "1.1 a"));
  EXPECT_TRUE(fields.containsAny(hops));
  EXPECT_TRUE(hops.contains(FieldName::te));
  EXPECT_FALSE(hops.contains(FieldName::unknown));
}

TEST(FieldList, WhatAnotherFieldNeedsIsExact) {
  alignas(8) uint8_t memory[64];
  FieldList fields{memory};
  ASSERT_TRUE(fields.add("x-a", "1", FieldName::unknown));
  const size_t left = sizeof(memory) - fields.heldBytes();
  const std::string value(left - FieldList::bytesFor("x-b", {}, FieldName::unknown), 'v');
  EXPECT_EQ(FieldList::bytesFor("x-b", value, FieldName::unknown), left);
  EXPECT_FALSE(fields.add("x-b", value + "v", FieldName::unknown));
  EXPECT_TRUE(fields.add("x-b", value, FieldName::unknown));
}

}  // namespace
}  // namespace plait::http
