#include "plait/h1/body_decoder.h"

#include <gtest/gtest.h>

#include <string>

namespace plait::h1 {
namespace {

using namespace std::string_literals;

class BodyDecoding : public testing::Test {
 protected:
  // Feeds `text` in steps of `step` bytes, presenting again what was left; returns the body. `rest_` is what follows
  // it.
  std::string decode(const std::string& text, size_t step) {
    trailers_ = http::FieldList(MutableBytes(memory_).first(memory_size_));
    std::string body;
    error_status_ = 0;
    ended_ = false;
    std::string left;
    for (size_t at = 0; at < text.size() && !ended_; at += step) {
      left += text.substr(at, step);
      const std::string presented = left;
      Bytes input = asBytes(presented);
      while (true) {
        const auto event = decoder_.next(input, trailers_);
        if (!event) {
          error_status_ = event.error().status;
          EXPECT_TRUE(event.error().error.reachesConnection());
          return body;
        }
        if (event->kind == BodyEvent::Kind::need_more) break;
        if (event->kind == BodyEvent::Kind::end) {
          ended_ = true;
          has_trailers_ = event->has_trailers;
          break;
        }
        EXPECT_FALSE(event->data.empty());
        body += asText(event->data);
        last_seen_ = event->last;
        if (event->last) EXPECT_TRUE(decoder_.isDone());
      }
      left = std::string(asText(input));
      rest_ = left + (at + step < text.size() ? text.substr(at + step) : "");
    }
    return body;
  }
  std::string decodeChunked(const std::string& text, size_t step) {
    decoder_.start(BodyFraming::chunked, 0, limits_);
    return decode(text, step);
  }
  int refusal(const std::string& text) {
    for (const size_t step : {1u, 3u, 1000u}) {
      decodeChunked(text, step);
      if (error_status_ == 0) return 0;
    }
    return error_status_;
  }

  alignas(8) uint8_t memory_[1024];
  size_t memory_size_ = sizeof(memory_);
  http::FieldList trailers_;
  Limits limits_;
  BodyDecoder decoder_;
  std::string rest_;
  int error_status_ = 0;
  bool ended_ = false;
  bool has_trailers_ = false;
  bool last_seen_ = false;
};

TEST_F(BodyDecoding, KnownLengthLeavesTheNextMessageAlone) {
  for (size_t step = 1; step < 12; ++step) {
    decoder_.start(BodyFraming::content_length, 5, limits_);
    EXPECT_EQ(decoder_.remaining(), 5u);
    EXPECT_EQ(decode("helloGET /", step), "hello");
    EXPECT_TRUE(last_seen_);
    EXPECT_TRUE(ended_);
    EXPECT_EQ(rest_, "GET /");
    EXPECT_TRUE(decoder_.finish().has_value());
  }
}

TEST_F(BodyDecoding, ATruncatedBodyIsAnError) {
  decoder_.start(BodyFraming::content_length, 5, limits_);
  EXPECT_EQ(decode("hel", 3), "hel");
  EXPECT_FALSE(decoder_.finish().has_value());
  decodeChunked("5\r\nhello\r\n", 4);
  EXPECT_FALSE(decoder_.finish().has_value());
  decodeChunked("5\r\nhello\r\n0\r\n", 4);
  EXPECT_FALSE(decoder_.finish().has_value());
}

TEST_F(BodyDecoding, UntilCloseEndsWithTheConnection) {
  decoder_.start(BodyFraming::until_close, 0, limits_);
  EXPECT_EQ(decode("hello", 2), "hello");
  EXPECT_FALSE(decoder_.isDone());
  EXPECT_TRUE(decoder_.finish().has_value());
  EXPECT_TRUE(decoder_.isDone());
}

TEST_F(BodyDecoding, NoBodyIsOverAtOnce) {
  decoder_.start(BodyFraming::none, 0, limits_);
  EXPECT_EQ(decode("GET", 3), "");
  EXPECT_TRUE(ended_);
  EXPECT_EQ(rest_, "GET");
}

TEST_F(BodyDecoding, ChunksInAnyPieces) {
  const std::string text =
      "5\r\nhello\r\n1;x=\"y\"\r\n \r\n0000a ;n\r\nto\r\nworld!\r\n0;last\r\nX-Sum: 9\r\nContent-Length: 7\r\n\r\nnext";
  for (size_t step = 1; step <= text.size(); ++step) {
    EXPECT_EQ(decodeChunked(text, step), "hello to\r\nworld!");
    EXPECT_EQ(error_status_, 0);
    EXPECT_TRUE(ended_);
    EXPECT_EQ(rest_, "next");
    ASSERT_TRUE(has_trailers_);
    ASSERT_EQ(trailers_.count(), 1u);  // framing fields are no trailers
    EXPECT_EQ(trailers_[0].name, "x-sum");
    EXPECT_EQ(trailers_[0].value, "9");
  }
}

TEST_F(BodyDecoding, TheLastDataSaysSoWhenTheEndIsThere) {
  EXPECT_EQ(decodeChunked("5\r\nhello\r\n0\r\n\r\nnext", 100), "hello");
  EXPECT_TRUE(last_seen_);
  EXPECT_TRUE(ended_);
  EXPECT_FALSE(has_trailers_);
  EXPECT_EQ(rest_, "next");
  EXPECT_EQ(decodeChunked("0\r\n\r\n", 1), "");
  EXPECT_TRUE(ended_);
}

TEST_F(BodyDecoding, ChunkSyntaxIsStrict) {
  for (const std::string& text : {"\r\n"s,
                                  "g\r\n"s,
                                  "-1\r\n"s,
                                  "0x5\r\n"s,
                                  " 5\r\nhello\r\n"s,
                                  "5 \r\nhello\r\n"s,
                                  "5\nhello\r\n"s,
                                  "5\r\rhello"s,
                                  "5\r\nhello\n0"s,
                                  "5\r\nhelloX\r\n"s,
                                  "5\r\nhello\rX"s,
                                  "1000000000000000\r\n"s,
                                  "ffffffffffffffffff\r\n"s,
                                  "5;a\nb\r\n"s,
                                  "5;\0\r\n"s,
                                  "5;a\rb\r\n"s,
                                  "0\r\nX\r\n\r\n"s,
                                  "0\r\nX : y\r\n\r\n"s,
                                  "0\r\nX: y\n\r\n"s,
                                  "0\r\n\n"s,
                                  "0\r\n folded: x\r\n\r\n"s,
                                  "0\r\nX: a\r\n b\r\n\r\n"s,
                                  ";x\r\n"s}) {
    EXPECT_EQ(refusal(text), 400) << text;
  }
}

TEST_F(BodyDecoding, ExtensionsAndTrailersAreBounded) {
  EXPECT_EQ(refusal("5;" + std::string(300, 'x') + "\r\n"), 431);
  std::string tiny;
  for (int i = 0; i < 100; ++i) tiny += "1;" + std::string(200, 'x') + "\r\na\r\n";
  EXPECT_EQ(refusal(tiny), 431);
  std::string honest;
  for (int i = 0; i < 100; ++i) honest += "400;" + std::string(100, 'x') + "\r\n" + std::string(1024, 'a') + "\r\n";
  EXPECT_EQ(decodeChunked(honest + "0\r\n\r\n", 4096).size(), 102'400u);
  EXPECT_EQ(error_status_, 0);

  limits_.trailers_size = 50;
  EXPECT_EQ(refusal("0\r\nX: " + std::string(60, 'a')), 431);
  limits_.trailers_size = 8192;
  EXPECT_EQ(refusal("0\r\nX: " + std::string(2000, 'a') + "\r\n\r\n"), 431);
  limits_.trailer_count = 2;
  EXPECT_EQ(refusal("0\r\na: 1\r\nb: 1\r\nc: 1\r\n\r\n"), 431);
}

TEST_F(BodyDecoding, QuotesInAnExtensionCloseBeforeItsLineEnds) {
  EXPECT_EQ(refusal("3;x=\"\r\nabc\r\n0\r\n\r\n\"\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refusal("3;x=\"a\\\"\r\nabc\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(refusal("3;x=\"a\\\r\nabc\r\n0\r\n\r\n"), 400);
  for (const size_t step : {1u, 1000u})
    EXPECT_EQ(decodeChunked("3;x=\"a;\\\"b\\\\\";y\r\nabc\r\n0\r\n\r\n", step), "abc");
  EXPECT_EQ(error_status_, 0);
}

TEST_F(BodyDecoding, TrailersThatConnectionNominatedAreDropped) {
  http::ConnectionTokens connection;
  ASSERT_TRUE(http::parseConnectionValue("keep-alive, X-Hop", connection));
  decoder_.start(BodyFraming::chunked, http::unknown_length, limits_, &connection);
  EXPECT_EQ(decode("1\r\na\r\n0\r\nx-hop: 1\r\nx-sum: 2\r\n\r\n", 1), "a");
  ASSERT_EQ(trailers_.count(), 1u);
  EXPECT_EQ(trailers_[0].name, "x-sum");
}

TEST_F(BodyDecoding, UnwantedTrailersAreCheckedAndDropped) {
  memory_size_ = 0;
  EXPECT_EQ(decodeChunked("1\r\na\r\n0\r\nX: y\r\n\r\nrest", 100), "a");
  EXPECT_TRUE(ended_);
  EXPECT_FALSE(has_trailers_);
  EXPECT_EQ(rest_, "rest");
  EXPECT_EQ(refusal("0\r\nX y\r\n\r\n"), 400);
}

}  // namespace
}  // namespace plait::h1
