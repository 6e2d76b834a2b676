#include "plait/h1/parser.h"

#include <gtest/gtest.h>

#include <string>

#include "plait/h1/scan.h"

namespace plait::h1 {
namespace {

using namespace std::string_literals;

TEST(Scan, FastAndPortableFindTheSameByte) {
  for (int value = 0; value < 256; ++value) {
    for (size_t at = 0; at < 40; ++at) {
      std::string text(40, 'a');
      text[at] = static_cast<char>(value);
      ASSERT_EQ(findControl(asBytes(text), 0), findControlPortable(asBytes(text), 0)) << value << " at " << at;
      ASSERT_EQ(findControl(asBytes(text), at / 2), findControlPortable(asBytes(text), at / 2));
    }
  }
}

class RequestHead : public testing::Test {
 protected:
  // Parses in one piece, then again with one byte more each time; both must agree.
  ParseResult<HeadParse> parse(const std::string& text) {
    size_t scanned = 0;
    const auto whole = parseOnce(text, scanned);
    size_t resumed = 0;
    for (size_t size = 0; size <= text.size(); ++size) {
      // A copy of exactly that size lets the address sanitizer see a read behind the end.
      const std::string part(text, 0, size);
      const auto stepwise = parseOnce(part, resumed);
      if (!stepwise) {
        EXPECT_FALSE(whole.has_value());
        return whole;
      }
      if (!stepwise->complete) continue;
      EXPECT_TRUE(whole && whole->complete);
      if (whole) EXPECT_EQ(stepwise->consumed, whole->consumed);
      return stepwise;
    }
    EXPECT_TRUE(whole.has_value() && !whole->complete);
    return whole;
  }
  ParseResult<HeadParse> parseOnce(const std::string& text, size_t& scanned) {
    head_.fields = http::FieldList(MutableBytes(memory_).first(memory_size_));
    return parseRequestHead(asBytes(text), scanned, head_, limits_);
  }
  HeadParse accept(const std::string& text) {
    const auto parsed = parse(text);
    EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().error.reason) << "\n" << text;
    if (!parsed) return {};
    EXPECT_TRUE(parsed->complete) << text;
    return *parsed;
  }
  // The status of the refusal, 0 when there was none.
  int refusal(const std::string& text) {
    const auto parsed = parse(text);
    if (parsed) return 0;
    EXPECT_TRUE(parsed.error().error.reachesConnection());
    return parsed.error().status;
  }
  // A request that is fine but for the lines given.
  static std::string with(const std::string& lines, const std::string& method = "GET") {
    return method + " / HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n";
  }

  alignas(8) uint8_t memory_[48 * 1024];
  size_t memory_size_ = 2048;
  http::RequestHead head_;
  Limits limits_;
};

TEST_F(RequestHead, AnOrdinaryRequest) {
  const std::string text = "GET /a?b=c HTTP/1.1\r\nHost: Example.org:80\r\nAccept:\t*/* \r\nX-Empty:\r\n\r\n";
  const HeadParse parsed = accept(text + "next");
  EXPECT_EQ(parsed.consumed, text.size());
  EXPECT_EQ(parsed.framing, BodyFraming::none);
  EXPECT_TRUE(parsed.keep_alive);
  EXPECT_FALSE(parsed.expect_continue);
  EXPECT_EQ(head_.method, "GET");
  EXPECT_EQ(head_.path, "/a?b=c");
  EXPECT_EQ(head_.authority, "Example.org:80");
  EXPECT_EQ(head_.scheme, "");
  EXPECT_EQ(head_.version, http::Version::http_1_1);
  EXPECT_TRUE(head_.end_stream);
  ASSERT_EQ(head_.fields.count(), 2u);
  EXPECT_EQ(head_.fields[0].name, "accept");
  EXPECT_EQ(head_.fields[0].value, "*/*");
  EXPECT_EQ(head_.fields[0].id, http::FieldName::accept);
  EXPECT_EQ(head_.fields[1].name, "x-empty");
  EXPECT_EQ(head_.fields[1].value, "");
}

TEST_F(RequestHead, OneEmptyLineBeforeItIsTolerated) {
  EXPECT_EQ(accept("\r\n" + with("")).consumed, with("").size() + 2);
  EXPECT_EQ(refusal("\r\n\r\n" + with("")), 400);
  EXPECT_EQ(refusal("\n" + with("")), 400);
}

TEST_F(RequestHead, ALineThatWasWrittenForAnotherProtocolIsToldFromABadRequestLine) {
  const auto isForeign = [this](std::string_view line) {
    size_t scanned = 0;
    const std::string input = std::string(line) + "\r\n\r\n";
    const auto parsed = parseRequestHead(asBytes(input), scanned, head_, {});
    EXPECT_FALSE(parsed) << line;
    EXPECT_EQ(parsed.error().status, 400) << line;
    return parsed.error().is_foreign;
  };
  for (const std::string_view line : {"INVALID CONNECTION PREFACE", "PR * HTPP/2.0", "CONNECT me now"}) {
    EXPECT_TRUE(isForeign(line)) << line;
  }
  for (const std::string_view line : {"HELLO", "GET /", "GET / ", "GET  / x", "GET / x", "GET / http/1.1",
                                      "GET x HTTP/1.x", "GET / HTTP/1.1 ", "GET http://a/ x", "how are you ?"}) {
    EXPECT_FALSE(isForeign(line)) << line;
  }
}

TEST_F(RequestHead, BodiesAreFramedByLengthOrChunks) {
  EXPECT_EQ(accept(with("Content-Length: 5\r\n", "POST")).framing, BodyFraming::content_length);
  EXPECT_EQ(head_.content_length, 5u);
  EXPECT_FALSE(head_.end_stream);
  EXPECT_EQ(accept(with("Content-Length: 0\r\n", "POST")).framing, BodyFraming::none);
  EXPECT_TRUE(head_.end_stream);
  EXPECT_EQ(accept(with("Transfer-Encoding: Chunked\r\n", "POST")).framing, BodyFraming::chunked);
  EXPECT_EQ(head_.content_length, http::unknown_length);
  EXPECT_FALSE(head_.end_stream);
  EXPECT_EQ(accept(with("", "POST")).framing, BodyFraming::none);
}

TEST_F(RequestHead, EqualLengthsBecomeOne) {
  accept(with("Content-Length: 5, 5\r\nContent-Length: 5\r\nX: y\r\n", "POST"));
  EXPECT_EQ(head_.content_length, 5u);
  ASSERT_EQ(head_.fields.count(), 2u);
  EXPECT_EQ(head_.fields[0].value, "5");
  EXPECT_EQ(head_.fields[1].value, "y");
}

TEST_F(RequestHead, AmbiguousFramingIsRefused) {
  EXPECT_EQ(refusal(with("Content-Length: 5\r\nContent-Length: 6\r\n")), 400);
  EXPECT_EQ(refusal(with("Content-Length: 5, 6\r\n")), 400);
  EXPECT_EQ(refusal(with("Content-Length: +5\r\n")), 400);
  EXPECT_EQ(refusal(with("Content-Length:\r\n")), 400);
  EXPECT_EQ(refusal(with("Content-Length: 99999999999999999999\r\n")), 400);
  EXPECT_EQ(refusal(with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: chunked, chunked\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: chunked, gzip\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: identity\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding:\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: xchunked\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: \x0b"s + "chunked\r\n")), 400);
  EXPECT_EQ(refusal(with("Transfer-Encoding: gzip, chunked\r\n")), 501);
  EXPECT_EQ(refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST_F(RequestHead, TargetsInAbsoluteForm) {
  accept("GET http://One.example:81/p?q HTTP/1.1\r\nHost: two.example\r\n\r\n");
  EXPECT_EQ(head_.scheme, "http");
  EXPECT_EQ(head_.authority, "One.example:81");
  EXPECT_EQ(head_.path, "/p?q");
  accept("GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(head_.scheme, "https");
  EXPECT_EQ(head_.path, "/");
  accept("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(head_.path, "/?q");
  accept("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(head_.path, "*");
  EXPECT_EQ(refusal("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET http://a/ HTTP/1.1\r\n\r\n"), 400);
}

TEST_F(RequestHead, WhatFollowsConnectIsNoRequest) {
  EXPECT_FALSE(accept("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

TEST_F(RequestHead, TargetsInOtherForms) {
  accept("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(head_.path, "*");
  accept("CONNECT a.example:443 HTTP/1.1\r\nHost: b\r\n\r\n");
  EXPECT_EQ(head_.authority, "a.example:443");
  EXPECT_EQ(head_.path, "");
  EXPECT_EQ(refusal("CONNECT a.example HTTP/1.1\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(refusal("CONNECT /x HTTP/1.1\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET x HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
}

TEST_F(RequestHead, HostIsNeededOnceAndValid) {
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(refusal(with("Host: a\r\n")), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: a, b/\r\n\r\n"), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400);
  accept("GET / HTTP/1.1\r\nX-First: 1\r\nHost: [::1]:8080\r\nX-Last: 2\r\n\r\n");
  EXPECT_EQ(head_.authority, "[::1]:8080");
  EXPECT_EQ(head_.fields[0].value, "1");
  EXPECT_EQ(head_.fields[1].name, "x-last");
  EXPECT_EQ(head_.fields[1].value, "2");
}

TEST_F(RequestHead, RequestLinesAreStrict) {
  for (const char* line :
       {"GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /", "GET", "GET / ",
        "GET /a b HTTP/1.1", "GET / http/1.1", "GET / HTTP/1", "GET / HTTP/1.10", "G(T / HTTP/1.1", "GET\t/ HTTP/1.1",
        "GET /\tx HTTP/1.1", "GET / HTTP/x.1", "\x16\x03\x01"}) {
    EXPECT_EQ(refusal(std::string(line) + "\r\nHost: a\r\n\r\n"), 400) << line;
  }
  EXPECT_EQ(refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(refusal("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505);
  EXPECT_EQ(refusal("GET / HTTP/0.9\r\nHost: a\r\n\r\n"), 505);
}

TEST_F(RequestHead, LinesAndNamesAreStrict) {
  EXPECT_EQ(refusal("GET / HTTP/1.1\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal(with("X: y\n")), 400);
  EXPECT_EQ(refusal(with("X: a\rb\r\n")), 400);
  EXPECT_EQ(refusal(with("X: a\0b\r\n"s)), 400);
  EXPECT_EQ(refusal(with("X: a\x7f\r\n")), 400);
  EXPECT_EQ(refusal(with("X : y\r\n")), 400);
  EXPECT_EQ(refusal(with("X\r\n")), 400);
  EXPECT_EQ(refusal(with(": y\r\n")), 400);
  EXPECT_EQ(refusal(with("X: y\r\n folded\r\n")), 400);
  EXPECT_EQ(refusal(with("\tfolded: x\r\n")), 400);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400);
  EXPECT_EQ(refusal(with("X\xc3\xbc: y\r\n")), 400);
  EXPECT_EQ(refusal(with("X: y\r\n\r")), 400);
}

TEST_F(RequestHead, GarbageIsRefusedBeforeItsEnd) {
  size_t scanned = 0;
  EXPECT_FALSE(parseOnce("\x16\x03\x01\x02", scanned).has_value());
  scanned = 0;
  EXPECT_FALSE(parseOnce("GET / HTTP/1.1\nHo", scanned).has_value());
}

TEST_F(RequestHead, PersistenceFollowsVersionAndConnection) {
  EXPECT_TRUE(accept(with("")).keep_alive);
  EXPECT_FALSE(accept(with("Connection: close\r\n")).keep_alive);
  EXPECT_FALSE(accept(with("Connection: keep-alive\r\nConnection: x, Close\r\n")).keep_alive);
  EXPECT_FALSE(accept("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_EQ(head_.version, http::Version::http_1_0);
  EXPECT_EQ(head_.authority, "");
  EXPECT_TRUE(accept("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
  EXPECT_TRUE(accept(with("Connection: X-Hop\r\nX-Hop: 1\r\n")).connection.nominates("x-hop"));
  EXPECT_EQ(refusal(with("Connection: a b\r\n")), 400);
}

TEST_F(RequestHead, ExpectationsAndUpgrades) {
  EXPECT_TRUE(accept(with("Content-Length: 1\r\nExpect: 100-Continue\r\n", "POST")).expect_continue);
  EXPECT_FALSE(accept(with("Expect: 100-continue\r\n")).expect_continue);
  EXPECT_EQ(refusal(with("Expect: more\r\n")), 417);
  EXPECT_FALSE(accept("POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n").expect_continue);
  EXPECT_FALSE(head_.fields.contains(http::FieldName::expect));
  EXPECT_EQ(refusal(with("Expect: more\r\nExpect: 100-continue\r\n")), 417);
  accept(with("Connection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n"));
  EXPECT_EQ(head_.protocol, "WebSocket");
  accept(with("Connection: upgrade\r\nUpgrade: h2c, TLS/1.0, echo, websocket\r\n"));
  EXPECT_EQ(head_.protocol, "echo");
  accept(with("Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"));
  EXPECT_EQ(head_.protocol, "");
  accept(with("Upgrade: websocket\r\n"));
  EXPECT_EQ(head_.protocol, "");
  accept(with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"));
  EXPECT_EQ(head_.protocol, "");
  accept(with("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n"));
  EXPECT_EQ(head_.protocol, "");
}

TEST_F(RequestHead, LimitsHaveTheirOwnStatus) {
  limits_ = {.start_line_size = 64, .fields_size = 128, .field_count = 3};
  EXPECT_EQ(refusal("GET /" + std::string(100, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
  EXPECT_EQ(refusal(std::string(100, 'a')), 414);
  EXPECT_EQ(refusal(with("X: " + std::string(200, 'a') + "\r\n")), 431);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(200, 'a')), 431);
  EXPECT_EQ(refusal(with("A: 1\r\nB: 1\r\nC: 1\r\n")), 431);
  accept(with("A: 1\r\nB: 1\r\n"));
}

TEST_F(RequestHead, LargerMemoryMayTakeWhatTheFirstCouldNot) {
  const std::string text = with("X-Long: " + std::string(3000, 'v') + "\r\n");
  size_t scanned = 0;
  const auto first = parseOnce(text, scanned);
  ASSERT_FALSE(first.has_value());
  EXPECT_EQ(first.error().status, 431);
  EXPECT_EQ(first.error().error.code, ErrorCode::no_memory);
  memory_size_ = sizeof(memory_);
  const auto second = parseOnce(text, scanned);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->consumed, text.size());
  memory_size_ = 8;
  scanned = 0;
  EXPECT_EQ(parseOnce(text, scanned).error().error.code, ErrorCode::no_memory);
}

class ResponseHead : public testing::Test {
 protected:
  ParseResult<HeadParse> parse(const std::string& text, std::string_view method = "GET") {
    size_t scanned = 0;
    head_.fields = http::FieldList(memory_);
    return parseResponseHead(asBytes(text), scanned, head_, method, limits_);
  }
  HeadParse accept(const std::string& text, std::string_view method = "GET") {
    const auto parsed = parse(text, method);
    EXPECT_TRUE(parsed && parsed->complete) << text;
    return parsed ? *parsed : HeadParse();
  }
  int refusal(const std::string& text) {
    const auto parsed = parse(text);
    return parsed ? 0 : parsed.error().status;
  }
  alignas(8) uint8_t memory_[2048];
  http::ResponseHead head_;
  Limits limits_;
};

TEST_F(ResponseHead, AnOrdinaryResponse) {
  const std::string text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\n";
  const HeadParse parsed = accept(text + "hello");
  EXPECT_EQ(parsed.consumed, text.size());
  EXPECT_EQ(parsed.framing, BodyFraming::content_length);
  EXPECT_TRUE(parsed.keep_alive);
  EXPECT_EQ(head_.status, 200);
  EXPECT_EQ(head_.content_length, 5u);
  EXPECT_FALSE(head_.end_stream);
  EXPECT_EQ(head_.fields.value(http::FieldName::server), "x");
}

TEST_F(ResponseHead, ReasonsMayBeMissing) {
  EXPECT_EQ(accept("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n").framing, BodyFraming::none);
  EXPECT_TRUE(head_.end_stream);
  accept("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(head_.status, 404);
}

TEST_F(ResponseHead, SomeNeverHaveABody) {
  EXPECT_EQ(accept("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD").framing, BodyFraming::none);
  EXPECT_EQ(head_.content_length, 5u);
  EXPECT_TRUE(head_.end_stream);
  EXPECT_EQ(accept("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n").framing, BodyFraming::none);
  EXPECT_TRUE(accept("HTTP/1.1 204 x\r\n\r\n").keep_alive);
  EXPECT_TRUE(head_.end_stream);
  EXPECT_FALSE(accept("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n").keep_alive);
  EXPECT_FALSE(accept("HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n").keep_alive);
  const HeadParse interim = accept("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  EXPECT_EQ(interim.framing, BodyFraming::none);
  EXPECT_FALSE(interim.tunnel);
  EXPECT_FALSE(head_.end_stream);
  EXPECT_TRUE(accept("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n").tunnel);
  EXPECT_TRUE(accept("HTTP/1.1 200 x\r\n\r\n", "CONNECT").tunnel);
}

TEST_F(ResponseHead, BodiesMayEndWithTheConnection) {
  const HeadParse parsed = accept("HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_EQ(parsed.framing, BodyFraming::until_close);
  EXPECT_FALSE(parsed.keep_alive);
  EXPECT_EQ(accept("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").framing, BodyFraming::chunked);
  EXPECT_FALSE(accept("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n").keep_alive);
  EXPECT_TRUE(accept("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

TEST_F(ResponseHead, WhatCannotBecomeAStatusLineIsRefusedAtOnce) {
  const std::string good[] = {"HTTP/1.1 200 OK\r\nServer: x\r\n", "HTTP/1.0 404\r\nA: b"};
  for (const std::string& text : good) {
    for (size_t size = 0; size <= text.size(); ++size) {
      const auto parsed = parse(text.substr(0, size));
      EXPECT_TRUE(parsed && !parsed->complete) << text.substr(0, size);
    }
  }
  // With its last byte each has become something else, and is not waited for.
  for (const std::string& text : {"S", "HTTP/2", "HTTP/1.2", "HTTP/1.1/", "HTTP/1.1 0", "HTTP/1.1 6", "HTTP/1.1 2O",
                                  "HTTP/1.1 200O", "HTTP/1.1\r", "h", "<", "2", "I", "\t"}) {
    const std::string whole(text);
    EXPECT_EQ(refusal(whole), 502) << whole;
    const auto before = parse(whole.substr(0, whole.size() - 1));
    EXPECT_TRUE(before && !before->complete) << whole;
  }
  EXPECT_EQ(refusal("HTTP/1.1 200 " + std::string(limits_.start_line_size, 'a')), 502);
}

TEST_F(ResponseHead, WhatIsWrongIsABadGateway) {
  for (const char* head :
       {"HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 OK", "HTTP/2.0 200 OK", "HTTP/1.1  200 OK", "SSH-2.0",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4", "HTTP/1.1 200 OK\r\nX: y\r\n z",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
        "\r\nHTTP/1.1 200 OK", "HTTP/1.1 200 OK\nX: y"}) {
    EXPECT_EQ(refusal(std::string(head) + "\r\n\r\n"), 502) << head;
  }
  limits_.fields_size = 64;
  EXPECT_EQ(refusal("HTTP/1.1 200 OK\r\nX: " + std::string(200, 'x')), 502);
}

}  // namespace
}  // namespace plait::h1
