#include "plait/net/resolver.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "plait/io/mailbox.h"
#include "plait/net/address.h"

namespace plait {
namespace {

std::string text(const sockaddr_storage& address) {
  char buffer[address_text_size];
  return std::string(formatAddress(address, buffer));
}

// Waits for the next posted op, at most ten seconds.
Op* takePosted(Mailbox& mailbox) {
  pollfd descriptor{mailbox.wakeFd(), POLLIN, 0};
  return ::poll(&descriptor, 1, 10'000) == 1 ? mailbox.take() : nullptr;
}

struct Asked {
  Op op;
  Lookup lookup;
  ResolveAnswer answer;
  Asked(Resolver& resolver, Mailbox& mailbox, std::string_view host, uint16_t port) {
    op.kind = OpKind::resolve;
    lookup = {host, port, &answer};
    op.lookup = &lookup;
    resolver.resolve(op, mailbox);
  }
};

TEST(Resolver, AnswersLiteralsAtOnce) {
  Resolver resolver;
  ResolveAnswer answer;
  ASSERT_EQ(resolver.resolveNow("192.0.2.7", 81, answer), 0);
  ASSERT_EQ(answer.count, 1u);
  EXPECT_EQ(text(answer.addresses[0]), "192.0.2.7:81");
  ASSERT_EQ(resolver.resolveNow("2001:db8::7", 82, answer), 0);
  ASSERT_EQ(answer.count, 1u);
  EXPECT_EQ(text(answer.addresses[0]), "[2001:db8::7]:82");
}

TEST(Resolver, KnowsLocalhost) {
  Resolver resolver;
  ResolveAnswer answer;
  ASSERT_EQ(resolver.resolveNow("localhost", 80, answer), 0);
  ASSERT_GE(answer.count, 1u);
  EXPECT_GE(answer.ttl_s, 1u);
  EXPECT_LE(answer.ttl_s, 300u);
  for (uint32_t i = 0; i < answer.count; ++i) {
    const std::string address = text(answer.addresses[i]);
    EXPECT_TRUE(address == "127.0.0.1:80" || address == "[::1]:80") << address;
  }
}

TEST(Resolver, SaysThatANameDoesNotExist) {
  Resolver resolver;
  ResolveAnswer answer;
  // RFC 6761 §6.4: `.invalid` never exists. Without a name server the result says that instead.
  const int result = resolver.resolveNow("no-such-host.invalid", 80, answer);
  const std::set<int> expected = {-ENOENT, -EHOSTUNREACH, -ETIMEDOUT};
  EXPECT_TRUE(expected.contains(result)) << result;
  EXPECT_EQ(answer.count, 0u);
  EXPECT_STRNE(Resolver::describe(result), "");
}

TEST(Resolver, RefusesWhatIsNoName) {
  Resolver resolver;
  ResolveAnswer answer;
  EXPECT_EQ(resolver.resolveNow("", 80, answer), -EINVAL);
  EXPECT_EQ(resolver.resolveNow(std::string(300, 'a'), 80, answer), -EINVAL);
  EXPECT_EQ(resolver.resolveNow(std::string_view("a\0b", 3), 80, answer), -EINVAL);
}

TEST(Resolver, AnswersWorkersThroughTheirMailboxes) {
  Resolver resolver;
  Mailbox first_box, second_box;
  Asked first(resolver, first_box, "127.0.0.1", 8001);
  Asked second(resolver, second_box, "localhost", 8002);
  ASSERT_EQ(takePosted(first_box), &first.op);
  ASSERT_EQ(takePosted(second_box), &second.op);
  EXPECT_EQ(first.op.result, 0);
  EXPECT_EQ(portOf(first.answer.addresses[0]), 8001);
  EXPECT_EQ(second.op.result, 0);
  ASSERT_GE(second.answer.count, 1u);
  EXPECT_EQ(portOf(second.answer.addresses[0]), 8002);
}

TEST(Resolver, GivesEachAskerItsOwnPortFromOneAnswer) {
  Resolver resolver;
  Mailbox mailbox;
  std::vector<std::unique_ptr<Asked>> asked;
  for (uint16_t i = 0; i < 100; ++i) asked.push_back(std::make_unique<Asked>(resolver, mailbox, "localhost", 9000 + i));
  for (size_t i = 0; i < asked.size();) {
    Op* op = takePosted(mailbox);
    if (op != nullptr) ++i;
    ASSERT_TRUE(op == nullptr || op->result == 0);
  }
  for (uint16_t i = 0; i < 100; ++i) EXPECT_EQ(portOf(asked[i]->answer.addresses[0]), 9000 + i);
}

TEST(Resolver, AnswersEveryoneWhenItGoesAway) {
  Mailbox mailbox;
  std::vector<std::unique_ptr<Asked>> asked;
  {
    Resolver resolver;
    for (int i = 0; i < 20; ++i)
      asked.push_back(std::make_unique<Asked>(resolver, mailbox, "no-such-host.invalid", 80));
  }
  size_t posted = 0;
  while (mailbox.take() != nullptr) ++posted;
  EXPECT_EQ(posted, asked.size());
}

}  // namespace
}  // namespace plait
