#include "plait/h1/writer.h"

#include <gtest/gtest.h>

#include <string>

#include "plait/h1/body_decoder.h"

namespace plait::h1 {
namespace {

using namespace std::string_view_literals;

class Writing : public testing::Test {
 protected:
  std::string written() {
    std::string text;
    while (!out_.empty()) {
      const Bytes front = out_.front();
      text += asText(front);
      out_.consume(front.size());
    }
    return text;
  }
  http::RequestHead request(std::string_view method = "GET") {
    http::RequestHead head;
    head.method = method;
    head.scheme = "https";
    head.authority = "a.example";
    head.path = "/p";
    head.fields = http::FieldList(memory_);
    head.end_stream = true;
    return head;
  }
  http::ResponseHead response(uint16_t status = 200) {
    http::ResponseHead head;
    head.status = status;
    head.fields = http::FieldList(memory_);
    return head;
  }

  alignas(8) uint8_t memory_[2048];
  BlockSlab blocks_{80, 32};  // small blocks, so that heads span several
  ByteQueue out_{blocks_};
};

TEST_F(Writing, ARequestWithoutBody) {
  http::RequestHead head = request();
  ASSERT_TRUE(head.fields.add("accept", "*/*"));
  ASSERT_TRUE(head.fields.add("connection", "keep-alive"));
  EXPECT_EQ(writeRequestHead(out_, head), BodyFraming::none);
  EXPECT_EQ(written(), "GET /p HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\n\r\n");
}

TEST_F(Writing, FramingIsMadeByTheWriterAlone) {
  http::RequestHead head = request("POST");
  ASSERT_TRUE(head.fields.add("content-length", "999"));
  ASSERT_TRUE(head.fields.add("transfer-encoding", "gzip"));
  EXPECT_EQ(writeRequestHead(out_, head), BodyFraming::none);
  EXPECT_EQ(written(), "POST /p HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n");
  head.end_stream = false;
  EXPECT_EQ(writeRequestHead(out_, head), BodyFraming::chunked);
  EXPECT_EQ(written(), "POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n");
  head.content_length = 12;
  EXPECT_EQ(writeRequestHead(out_, head, {.close = true}), BodyFraming::content_length);
  EXPECT_EQ(written(), "POST /p HTTP/1.1\r\nhost: a.example\r\ncontent-length: 12\r\nconnection: close\r\n\r\n");
  head.end_stream = true;
  EXPECT_FALSE(writeRequestHead(out_, head).has_value());
}

TEST_F(Writing, CookieCrumbsBecomeOneField) {
  http::RequestHead head = request();
  ASSERT_TRUE(head.fields.add("cookie", "a=1"));
  ASSERT_TRUE(head.fields.add("accept", "x"));
  ASSERT_TRUE(head.fields.add("cookie", "b=2"));
  ASSERT_TRUE(head.fields.add("cookie", "c=3"));
  ASSERT_TRUE(writeRequestHead(out_, head).has_value());
  EXPECT_EQ(written(), "GET /p HTTP/1.1\r\nhost: a.example\r\ncookie: a=1; b=2; c=3\r\naccept: x\r\n\r\n");
}

TEST_F(Writing, TargetForms) {
  http::RequestHead head = request();
  ASSERT_TRUE(writeRequestHead(out_, head, {.absolute_form = true}).has_value());
  EXPECT_EQ(written(), "GET https://a.example/p HTTP/1.1\r\nhost: a.example\r\n\r\n");
  head.method = "OPTIONS";
  head.path = "*";
  ASSERT_TRUE(writeRequestHead(out_, head).has_value());
  EXPECT_EQ(written(), "OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n");
  ASSERT_TRUE(writeRequestHead(out_, head, {.absolute_form = true}).has_value());
  EXPECT_EQ(written(), "OPTIONS https://a.example HTTP/1.1\r\nhost: a.example\r\n\r\n");
  head = request("CONNECT");
  head.authority = "a.example:443";
  head.path = "";
  ASSERT_TRUE(writeRequestHead(out_, head).has_value());
  EXPECT_EQ(written(), "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n");
}

TEST_F(Writing, UpgradesAndTrailersAreNominated) {
  http::RequestHead head = request("CONNECT");
  head.protocol = "websocket";
  head.end_stream = false;
  ASSERT_TRUE(head.fields.add("te", "trailers"));
  EXPECT_EQ(writeRequestHead(out_, head), BodyFraming::none);
  EXPECT_EQ(
      written(),
      "GET /p HTTP/1.1\r\nhost: a.example\r\nte: trailers\r\nupgrade: websocket\r\nconnection: upgrade, te\r\n\r\n");
}

TEST_F(Writing, NominatedFieldsStay) {
  http::RequestHead head = request();
  ASSERT_TRUE(head.fields.add("x-hop", "1"));
  ASSERT_TRUE(head.fields.add("x-end", "2"));
  http::ConnectionTokens tokens;
  ASSERT_TRUE(http::parseConnectionValue("X-Hop", tokens));
  ASSERT_TRUE(writeRequestHead(out_, head, {.connection = &tokens}).has_value());
  EXPECT_EQ(written(), "GET /p HTTP/1.1\r\nhost: a.example\r\nx-end: 2\r\n\r\n");
}

TEST_F(Writing, NothingThatBreaksLinesIsWritten) {
  for (const std::string_view bad : {"a\r\nx: y"sv, "a\nb"sv, "a\0b"sv, "\r"sv}) {
    http::RequestHead head = request();
    ASSERT_TRUE(head.fields.add("x", bad));
    EXPECT_FALSE(writeRequestHead(out_, head).has_value());
    head = request();
    ASSERT_TRUE(head.fields.add(bad, "x"));
    EXPECT_FALSE(writeRequestHead(out_, head).has_value());
    head = request();
    head.path = bad;
    EXPECT_FALSE(writeRequestHead(out_, head).has_value());
    head = request(bad);
    EXPECT_FALSE(writeRequestHead(out_, head).has_value());
    head = request();
    head.authority = bad;
    EXPECT_FALSE(writeRequestHead(out_, head).has_value());
    http::ResponseHead answer = response();
    ASSERT_TRUE(answer.fields.add("x", bad));
    EXPECT_FALSE(writeResponseHead(out_, answer).has_value());
    EXPECT_FALSE(writeInterimHead(out_, 103, answer.fields).has_value());
  }
  http::RequestHead head = request();
  head.path = "/a b";
  const auto refused = writeRequestHead(out_, head);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(out_.empty());
}

TEST_F(Writing, AFullQueueTakesNothing) {
  BlockSlab few(80, 4);
  ByteQueue small(few);
  http::RequestHead head = request();
  const auto refused = writeRequestHead(small, head);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::no_memory);
  EXPECT_TRUE(small.empty());
}

TEST_F(Writing, ResponsesAndTheirFraming) {
  http::ResponseHead head = response();
  ASSERT_TRUE(head.fields.add("server", "x"));
  EXPECT_EQ(writeResponseHead(out_, head), BodyFraming::chunked);
  EXPECT_EQ(written(), "HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n");
  head = response();
  EXPECT_EQ(writeResponseHead(out_, head, {.request_version = http::Version::http_1_0}), BodyFraming::until_close);
  EXPECT_EQ(written(), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
  head.content_length = 3;
  EXPECT_EQ(writeResponseHead(out_, head, {.request_version = http::Version::http_1_0}), BodyFraming::content_length);
  EXPECT_EQ(written(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n");
  EXPECT_EQ(writeResponseHead(out_, head, {.close = true}), BodyFraming::content_length);
  EXPECT_EQ(written(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(writeResponseHead(out_, head, {.request_method = "HEAD"}), BodyFraming::none);
  EXPECT_EQ(written(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
  head = response(404);
  head.end_stream = true;
  EXPECT_EQ(writeResponseHead(out_, head), BodyFraming::none);
  EXPECT_EQ(written(), "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
  EXPECT_EQ(writeResponseHead(out_, head, {.request_method = "HEAD"}), BodyFraming::none);
  EXPECT_EQ(written(), "HTTP/1.1 404 Not Found\r\n\r\n");
}

TEST_F(Writing, ResponsesWithoutFraming) {
  for (const uint16_t status : {uint16_t{204}, uint16_t{304}}) {
    EXPECT_EQ(writeResponseHead(out_, response(status)), BodyFraming::none);
    EXPECT_EQ(written().find("encoding"), std::string::npos);
  }
  EXPECT_EQ(writeResponseHead(out_, response(200), {.request_method = "CONNECT"}), BodyFraming::none);
  EXPECT_EQ(written(), "HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_EQ(writeResponseHead(out_, response(101), {.protocol = "websocket"}), BodyFraming::none);
  EXPECT_EQ(written(), "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
  EXPECT_FALSE(writeResponseHead(out_, response(101)).has_value());
  EXPECT_FALSE(writeResponseHead(out_, response(100)).has_value());
  EXPECT_EQ(writeResponseHead(out_, response(799), {.close = true}), BodyFraming::chunked);
  EXPECT_TRUE(written().starts_with("HTTP/1.1 799 \r\n"));
}

TEST_F(Writing, InterimResponses) {
  http::ResponseHead head = response();
  EXPECT_TRUE(writeInterimHead(out_, 100, head.fields).has_value());
  EXPECT_EQ(written(), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(head.fields.add("link", "</a>"));
  EXPECT_TRUE(writeInterimHead(out_, 103, head.fields).has_value());
  EXPECT_EQ(written(), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
  EXPECT_FALSE(writeInterimHead(out_, 200, head.fields).has_value());
}

TEST_F(Writing, ABodyKeepsItsPromise) {
  BodyWriter body;
  body.start(BodyFraming::content_length, 5);
  EXPECT_FALSE(body.write(out_, asBytes("helloo")).has_value());
  EXPECT_EQ(body.write(out_, asBytes("hello"), 3), 3u);
  const Status early = body.finish(out_);
  ASSERT_FALSE(early.has_value());
  EXPECT_EQ(early.error().code, ErrorCode::body_aborted);
  EXPECT_EQ(body.write(out_, asBytes("lo")), 2u);
  EXPECT_TRUE(body.finish(out_).has_value());
  EXPECT_FALSE(body.write(out_, asBytes("x")).has_value());
  EXPECT_EQ(written(), "hello");
}

TEST_F(Writing, ChunksAndTrailers) {
  BodyWriter body;
  body.start(BodyFraming::chunked, 0);
  EXPECT_EQ(body.write(out_, {}), 0u);
  EXPECT_EQ(body.write(out_, asBytes("hello, world; hi")), 16u);
  EXPECT_EQ(body.write(out_, asBytes("more"), 2), 2u);
  http::FieldList trailers(memory_);
  ASSERT_TRUE(trailers.add("grpc-status", "0"));
  ASSERT_TRUE(trailers.add("content-length", "7"));
  EXPECT_TRUE(body.finish(out_, &trailers).has_value());
  EXPECT_EQ(written(), "10\r\nhello, world; hi\r\n2\r\nmo\r\n0\r\ngrpc-status: 0\r\n\r\n");
  EXPECT_TRUE(body.isDone());
  trailers.clear();
  ASSERT_TRUE(trailers.add("x", "a\nb"));
  body.start(BodyFraming::chunked, 0);
  EXPECT_FALSE(body.finish(out_, &trailers).has_value());
  EXPECT_TRUE(body.finish(out_).has_value());
  EXPECT_EQ(written(), "0\r\n\r\n");
}

TEST_F(Writing, ChunksFitWhateverRoomThereIs) {
  for (size_t taken = 0; taken < 64; ++taken) {
    BlockSlab few(80, 1);
    ByteQueue small(few);
    ASSERT_TRUE(small.append(asBytes(std::string(taken, 'x'))));
    BodyWriter body;
    body.start(BodyFraming::chunked, 0);
    const auto count = body.write(small, asBytes(std::string(200, 'a')));
    ASSERT_TRUE(count.has_value());
    EXPECT_EQ(*count, 64 - taken > 2 * max_chunk_overhead ? 64 - taken - 2 * max_chunk_overhead : 0);
    if (*count != 0) EXPECT_TRUE(body.finish(small).has_value()) << "the last chunk finds its place";
  }
}

TEST_F(Writing, WhatIsWrittenIsReadBack) {
  http::RequestHead head = request("POST");
  head.end_stream = false;
  ASSERT_TRUE(head.fields.add("x-a", "1"));
  ASSERT_EQ(writeRequestHead(out_, head), BodyFraming::chunked);
  BodyWriter writer;
  writer.start(BodyFraming::chunked, 0);
  ASSERT_EQ(writer.write(out_, asBytes("hello")), 5u);
  ASSERT_TRUE(writer.finish(out_).has_value());
  const std::string text = written();

  alignas(8) uint8_t memory[1024];
  http::RequestHead read;
  read.fields = http::FieldList(memory);
  Limits limits;
  size_t scanned = 0;
  const auto parsed = parseRequestHead(asBytes(text), scanned, read, limits);
  ASSERT_TRUE(parsed && parsed->complete);
  EXPECT_EQ(read.authority, "a.example");
  BodyDecoder decoder;
  decoder.start(parsed->framing, read.content_length, limits);
  Bytes input = asBytes(text).subspan(parsed->consumed);
  http::FieldList none;
  const auto event = decoder.next(input, none);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(asText(event->data), "hello");
  EXPECT_TRUE(event->last);
  EXPECT_TRUE(input.empty());
}

}  // namespace
}  // namespace plait::h1
