#include "plait/server/own_answer.h"

#include <gtest/gtest.h>

#include <string>

namespace plait {
namespace {

struct Client {
  explicit Client(std::string_view name, std::string_view value, std::string_view method = "GET") {
    head.method = method;
    head.fields = http::FieldList(memory);
    head.fields.add(name, value);
  }
  alignas(8) uint8_t memory[512];
  http::RequestHead head;
};

std::string_view valueOf(const WrittenAnswer& answer, std::string_view name) {
  const http::FieldList& fields = answer.head().fields;
  const size_t i = fields.find(name);
  return i == fields.count() ? std::string_view() : fields[i].value;
}

TEST(OwnAnswer, IsALineForMostAndAPageForThoseWhoPreferOne) {
  const OwnAnswer answer{.status = 502, .text = "the <backend> & more", .error = "connection_refused"};
  const WrittenAnswer plain(answer, Client("accept", "*/*").head, "0123");
  EXPECT_EQ(plain.body(), "the <backend> & more\n");
  EXPECT_EQ(valueOf(plain, "content-type"), "text/plain; charset=utf-8");
  EXPECT_EQ(valueOf(plain, "content-length"), "21");
  EXPECT_EQ(valueOf(plain, "x-request-id"), "0123");
  EXPECT_EQ(valueOf(plain, "proxy-status"), "plait; error=connection_refused");
  EXPECT_EQ(valueOf(plain, "retry-after"), "");
  const WrittenAnswer page(answer, Client("accept", "text/html,*/*;q=0.8").head, "0123");
  EXPECT_EQ(valueOf(page, "content-type"), "text/html; charset=utf-8");
  EXPECT_NE(page.body().find("<h1>502 Bad Gateway</h1>\n<p>the &lt;backend&gt; &amp; more</p>"), std::string::npos);
  EXPECT_NE(page.body().find("<code>0123</code>"), std::string::npos);
  EXPECT_EQ(valueOf(page, "content-length"), std::to_string(page.body().size()));
}

TEST(OwnAnswer, OfAHeadHasTheLengthAndNoText) {
  const WrittenAnswer answer({.status = 503, .text = "full"}, Client("accept", "*/*", "HEAD").head, "1");
  EXPECT_EQ(answer.body(), "");
  EXPECT_TRUE(answer.head().end_stream);
  EXPECT_EQ(valueOf(answer, "content-length"), "5");
  EXPECT_EQ(valueOf(answer, "retry-after"), "1");
}

TEST(OwnAnswer, TellsDetailsAsStringsThatCannotEndEarly) {
  const WrittenAnswer answer({.status = 504,
                              .text = "late",
                              .error = "http_response_timeout",
                              .next_hop = "h2c://a:1",
                              .details = "a \"b\" \\ \xc2\xa7 8\n"},
                             Client("accept", "*/*").head, "1");
  EXPECT_EQ(valueOf(answer, "proxy-status"),
            "plait; error=http_response_timeout; next-hop=\"h2c://a:1\"; details=\"a \\\"b\\\" \\\\  8\"");
}

TEST(OwnAnswer, ToGrpcIsACodeInTheHead) {
  const WrittenAnswer answer({.status = 503, .text = "full\n"}, Client("content-type", "application/grpc").head, "1");
  EXPECT_EQ(answer.head().status, 200);
  EXPECT_EQ(answer.body(), "");
  EXPECT_EQ(valueOf(answer, "grpc-status"), "14");
  EXPECT_EQ(valueOf(answer, "grpc-message"), "full");
  EXPECT_EQ(valueOf(answer, "proxy-status"), "plait; error=proxy_internal_error");
}

TEST(OwnAnswer, FitsWhateverItIsMadeOf) {
  const std::string endless(10'000, '"');
  const WrittenAnswer answer({.status = 502, .text = endless, .next_hop = endless, .details = endless},
                             Client("accept", "text/html").head, std::string(128, 'i'));
  EXPECT_LE(answer.body().size(), WrittenAnswer::most_body);
  EXPECT_EQ(valueOf(answer, "x-request-id").size(), 128u);
  EXPECT_NE(valueOf(answer, "proxy-status"), "");
  const WrittenAnswer plain({.status = 502, .text = endless}, Client("accept", "*/*").head, "1");
  EXPECT_EQ(plain.body().size(), WrittenAnswer::most_body);
}

}  // namespace
}  // namespace plait
