// A route's changes to fields, as a backend and a client see them.
#include "plait/filter/fields.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

route::FieldChange change(std::string name, std::string_view value, bool replaces = true) {
  route::FieldChange made;
  made.id = http::fieldNameOf(name);
  made.name = std::move(name);
  made.replaces = replaces;
  EXPECT_EQ(made.value.parse(value), "");
  return made;
}

// Fields as "name: value" lines.
std::string textOf(const http::FieldList& fields) {
  std::string text;
  for (const http::Field field : fields) text += std::string(field.name) + ": " + std::string(field.value) + "\n";
  return text;
}

class ChangedHeadTest : public testing::Test {
 protected:
  std::string changed(const route::FieldChanges& changes, const route::Variables& variables = {},
                      std::string_view hsts = {}) {
    ChangedHead made(slab_);
    EXPECT_TRUE(made.make(head_, changes, hsts, variables));
    EXPECT_EQ(made.head().status, 200);
    return textOf(made.head().fields);
  }
  void SetUp() override {
    head_.status = 200;
    head_.fields = http::FieldList(memory_);
    head_.fields.add("server", "theirs");
    head_.fields.add("x-one", "a");
    head_.fields.add("x-one", "b");
  }

  http::HeaderSlab slab_{4, 4, 1};
  alignas(8) uint8_t memory_[1024];
  http::ResponseHead head_;
};

TEST_F(ChangedHeadTest, AValueThatIsSetTakesThePlaceOfAllAndOneThatIsAddedFollows) {
  route::FieldChanges changes;
  changes.changes = {change("x-one", "c"), change("x-one", "d", false), change("x-new", "e", false)};
  EXPECT_EQ(changed(changes), "server: theirs\nx-one: c\nx-one: d\nx-new: e\n");
}

TEST_F(ChangedHeadTest, WhatIsRemovedIsGoneAndMayBeAddedAnew) {
  route::FieldChanges changes;
  changes.removed = {"server", "x-none"};
  EXPECT_EQ(changed(changes), "x-one: a\nx-one: b\n");
  changes.changes = {change("server", "ours", false)};
  EXPECT_EQ(changed(changes), "x-one: a\nx-one: b\nserver: ours\n");
}

TEST_F(ChangedHeadTest, VariablesAreFilledIn) {
  route::FieldChanges changes;
  changes.changes = {change("x-all", "${client_address} ${host}${path}?${query} ${scheme} ${method} ${request_id} $$")};
  changes.removed = {"server", "x-one"};
  EXPECT_EQ(changed(changes, {.client_address = "192.0.2.1",
                              .host = "h",
                              .path = "/p",
                              .query = "q",
                              .scheme = "https",
                              .method = "GET",
                              .request_id = "id",
                              .tls_server_name = {}}),
            "x-all: 192.0.2.1 h/p?q https GET id $\n");
}

TEST_F(ChangedHeadTest, WhitespaceAtTheEndsOfAValueIsNoneOfIt) {
  route::FieldChanges changes;
  changes.changes = {change("server", "${tls_server_name} end"), change("x-one", "begin ${query}"),
                     change("x-two", "${query}")};
  EXPECT_EQ(changed(changes), "server: end\nx-one: begin\nx-two: \n");
}

TEST_F(ChangedHeadTest, AValueThatCannotBeIsNotSetAndTheOldOneIsGoneAllTheSame) {
  route::FieldChanges changes;
  changes.changes = {change("x-one", "${path}"), change("server", "${query}")};
  const std::string_view forged("a\r\nb: c", 7);
  EXPECT_EQ(changed(changes, {.path = forged, .query = "fine"}), "server: fine\n");
  const std::string long_path(most_filled_value + 1, 'x');
  EXPECT_EQ(changed(changes, {.path = long_path, .query = "fine"}), "server: fine\n");
}

TEST_F(ChangedHeadTest, StrictTransportSecurityIsThereOnce) {
  head_.fields.add("strict-transport-security", "max-age=1");
  EXPECT_EQ(changed({}, {}, "max-age=2"), "server: theirs\nx-one: a\nx-one: b\nstrict-transport-security: max-age=2\n");
  EXPECT_EQ(changed({}), "server: theirs\nx-one: a\nx-one: b\nstrict-transport-security: max-age=1\n");
  route::FieldChanges changes;
  changes.changes = {change("strict-transport-security", "max-age=3", false)};
  changes.removed = {"server", "x-one"};
  EXPECT_EQ(changed(changes, {}, "max-age=2"),
            "strict-transport-security: max-age=2\nstrict-transport-security: max-age=3\n");
}

TEST_F(ChangedHeadTest, WithoutMemoryNothingIsMade) {
  http::HeaderSlab none(0, 0, 0);
  ChangedHead made(none);
  EXPECT_FALSE(made.make(head_, {}, {}, {}));
}

TEST_F(ChangedHeadTest, ManyLongValuesHaveRoom) {
  route::FieldChanges changes;
  const std::string path(7000, 'p');
  for (int i = 0; i < 5; ++i) changes.changes.push_back(change("x-" + std::to_string(i), "${path}${path}"));
  for (int i = 5; i < 9; ++i) changes.changes.push_back(change("x-" + std::to_string(i), "${path}"));
  ChangedHead made(slab_);
  ASSERT_TRUE(made.make(head_, changes, {}, {.path = path}));
  EXPECT_EQ(made.head().fields.count(), 3u + 4u) << "those of twice the length are too long";
}

}  // namespace
}  // namespace plait
