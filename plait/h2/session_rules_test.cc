// The rules of RFC 9113 that a hostile or careless peer breaks, and what the session makes of it.
#include <gtest/gtest.h>

#include "plait/base/random.h"
#include "plait/h2/rules_test.h"

namespace plait::h2 {
namespace {

using namespace rules;

TEST(SessionRules, ASchemeThatIsNoSchemeNeverReachesTheOwner) {
  for (const char* scheme : {"http\r\nx: y", "", "1http", "ht tp"}) {
    Peer peer(Role::server);
    ASSERT_TRUE(peer.request(1, Wire{0x82, 0x84} + field(":scheme", scheme) + field(":authority", "a")));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
    EXPECT_EQ(peer.log, "");
  }
}

TEST(SessionRules, HostMustAgreeWithAuthority) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, get_block + field("host", "b")));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  ASSERT_TRUE(peer.request(3, get_block + field("host", "A")));
  ASSERT_TRUE(peer.request(5, Wire{0x82, 0x86, 0x84} + field("host", "c:80")));
  EXPECT_EQ(peer.log, "request 3 GET http a / |end\nrequest 5 GET http c:80 / |end\n");
}

TEST(SessionRules, ThePortThatASchemeHasAnywayMakesNoOtherHost) {
  Peer peer(Role::server);
  const auto ask = [&](uint32_t id, std::string_view scheme, std::string_view authority, std::string_view host) {
    return peer.request(
        id, Wire{0x82, 0x84} + field(":scheme", scheme) + field(":authority", authority) + field("host", host));
  };
  ASSERT_TRUE(ask(1, "http", "a", "a:80"));
  ASSERT_TRUE(ask(3, "http", "a:80", "A:"));
  ASSERT_TRUE(ask(5, "https", "[::1]:443", "[::1]"));
  EXPECT_EQ(peer.log,
            "request 1 GET http a / |end\nrequest 3 GET http a:80 / |end\nrequest 5 GET https [::1]:443 / |end\n");
  for (const auto& [id, scheme, host] :
       {std::tuple{7u, "http", "a:443"}, {9u, "https", "a:80"}, {11u, "http", "a:8"}}) {
    ASSERT_TRUE(ask(id, scheme, "a", host));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error) << scheme << " " << host;
  }
}

TEST(SessionRules, HostComesOnce) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, get_block + field("host", "A") + field("host", "a")));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  ASSERT_TRUE(peer.request(3, Wire{0x82, 0x86, 0x84} + field("host", "c") + field("host", "c")));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  EXPECT_EQ(peer.log, "");
}

TEST(SessionRules, ARequestOverHttpNamesItsHost) {
  Peer peer(Role::server);
  const Wire anonymous = {0x82, 0x84};
  ASSERT_TRUE(peer.request(1, anonymous + Wire{0x86}));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  ASSERT_TRUE(peer.request(3, anonymous + Wire{0x87} + field(":authority", "")));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  ASSERT_TRUE(peer.request(5, anonymous + Wire{0x87} + field("host", "")));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  ASSERT_TRUE(peer.request(7, anonymous + field(":scheme", "urn")));
  EXPECT_EQ(peer.log, "request 7 GET urn  / |end\n");
}

TEST(SessionRules, OfADataFrameLongerThanContentLengthNothingIsDelivered) {
  for (const size_t step : {size_t{1}, size_t{5}, SIZE_MAX}) {
    for (const auto& [size, end] : {std::pair(12, 0), {12, 1}, {9, 1}}) {
      Peer peer(Role::server);
      ASSERT_TRUE(peer.request(1, Wire{0x83, 0x86, 0x84} + field(":authority", "a") + field("content-length", "10"),
                               end_headers));
      ASSERT_TRUE(peer.feed(frame(FrameType::data, static_cast<uint8_t>(end), 1, Wire(size, 'x')), step));
      EXPECT_EQ(peer.log, "request 1 POST http a / content-length=10\nerror 1 1\n") << size << " in pieces of " << step;
      EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
    }
  }
}

TEST(SessionRules, ConnectHasAnAuthorityAndNothingElse) {
  SessionConfig config;
  for (const bool extended : {false, true}) {
    config.enable_connect_protocol = extended;
    Peer peer(Role::server, config);
    const Wire connect = field(":method", "CONNECT");
    ASSERT_TRUE(peer.request(1, connect, end_headers));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
    ASSERT_TRUE(peer.request(3, connect + field(":authority", "a:1") + Wire{0x84}, end_headers));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
    ASSERT_TRUE(peer.request(5, connect + field(":authority", "a:1"), end_headers));
    EXPECT_EQ(peer.log, "request 5 CONNECT  a:1 \n");
    ASSERT_TRUE(peer.request(7, connect + field(":protocol", "websocket") + Wire{0x84, 0x86} + field(":authority", "a"),
                             end_headers));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), extended ? H2Error::no_error : H2Error::protocol_error);
    if (extended) EXPECT_EQ(peer.last.request.protocol, "websocket");
    ASSERT_TRUE(peer.request(9, get_block + field(":protocol", "x")));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  }
}

TEST(SessionRules, TooManyFieldsOrBytesLoseTheRequestButNotTheConnection) {
  Wire many = get_block;
  for (int i = 0; i < 101; ++i) many = many + field("a", "");
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, many));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::enhance_your_calm);
  // One entry of 4,000 bytes said nine times: small on the wire, 36 KB when decoded.
  EXPECT_EQ(peer.last_status, 431);
  Wire bomb = get_block + Wire{0x40, 1, 'b', 0x7f, 0xa1, 0x1e} + Wire(4000, 'x');
  for (int i = 0; i < 9; ++i) bomb.push_back(0xbe);
  ASSERT_TRUE(peer.request(3, bomb));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::enhance_your_calm);
  ASSERT_TRUE(peer.request(5));
  EXPECT_EQ(peer.log, "request 5 GET http a / |end\n");
}

// A literal without indexing and without Huffman whose value has 127 bytes or more.
Wire longField(std::string_view name, size_t size) {
  Wire length = {0x7f};
  for (size -= 127; size >= 128; size >>= 7) length.push_back(static_cast<uint8_t>(size | 128));
  length.push_back(static_cast<uint8_t>(size));
  return Wire{0, static_cast<uint8_t>(name.size())} + text(name) + length;
}
Wire longField(std::string_view name, const std::string& value) {
  return longField(name, value.size()) + text(value);
}

TEST(SessionRules, ARequestThatIsTooLargeMayBeAnsweredWhichCostsWhatAResetCosts) {
  const Wire fields = get_block + longField("a", std::string(15'000, 'x')) + field("b", "");
  SessionConfig config;
  config.max_header_list_size = 8000;
  config.max_target_size = 1000;
  config.reset_burst = 20;
  config.resets_per_second = 0;
  Peer peer(Role::server, config);
  peer.answers = true;
  uint32_t id = 1;
  for (; id < 100 && peer.request(id, fields); id += 2) {
    const std::vector<Sent> sent = peer.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].header.type, FrameType::headers);
    EXPECT_EQ(sent[0].header.flags, end_both);
    EXPECT_EQ(peer.last_status, 431);
    peer.session.release(*peer.streams.back());
  }
  // Each is one of 20 tokens for itself, and one for the 8,000 bytes that it came to.
  EXPECT_EQ(id, 1 + 2 * 10u);
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm);

  Peer target(Role::server, config);
  target.answers = true;
  ASSERT_TRUE(target.request(1, Wire{0x82, 0x86, 0x01, 0x01, 'a'} + longField(":path", "/" + std::string(1000, 'x')),
                             end_headers));
  EXPECT_EQ(target.last_status, 414);
  EXPECT_EQ(target.sentCode(FrameType::rst_stream), H2Error::no_error) << "the rest is not wanted";
  ASSERT_TRUE(target.request(3, Wire{0x82, 0x86, 0x01, 0x01, 'a'} + longField(":path", "/" + std::string(999, 'x'))));
  EXPECT_EQ(target.last.kind, Event::Kind::request);
}

TEST(SessionRules, TrailersThatAreTooLargeMayBeAnswered) {
  SessionConfig config;
  config.max_header_list_size = 8000;
  for (const bool answers : {true, false}) {
    Peer peer(Role::server, config);
    peer.answers = answers;
    ASSERT_TRUE(peer.request(1, post_block, end_headers) &&
                peer.feed(frame(FrameType::headers, end_both, 1, longField("a", std::string(8000, 'x')))));
    EXPECT_EQ(peer.last_status, 431);
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), answers ? H2Error::no_error : H2Error::enhance_your_calm);
    ASSERT_TRUE(peer.request(3));
  }
}

TEST(SessionRules, AsManyCookiesAsABrowserKeepsComeBesideTheOtherFields) {
  Wire block = get_block;
  for (int i = 0; i < 100; ++i) block = block + field("a", "");
  for (int i = 0; i < 256; ++i) block = block + field("cookie", "c" + std::to_string(i) + "=v");
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, block));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::no_error);
  EXPECT_EQ(peer.last.request.fields.count(), 356);
  ASSERT_TRUE(peer.request(3, block + field("cookie", "last=v")));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::enhance_your_calm);
  ASSERT_TRUE(peer.request(5, block + field("a", "")));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::enhance_your_calm);
}

TEST(SessionRules, DataAfterTheEndResetsThatStreamAlone) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1) && peer.request(3, post_block, end_headers));
  ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, text("x"))));
  EXPECT_EQ(peer.last.stream, peer.streams[0].get());
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::stream_closed);
  ASSERT_TRUE(peer.feed(frame(FrameType::data, flags::end_stream, 3, text("y"))));
  EXPECT_TRUE(peer.log.ends_with("error 1 5\ndata 3 y|end\n")) << peer.log;
}

TEST(SessionRules, HeadersAfterTheEndResetThatStreamAlone) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1) && peer.request(1) && peer.request(3));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::stream_closed);
  EXPECT_EQ(peer.log, "request 1 GET http a / |end\nerror 1 5\nrequest 3 GET http a / |end\n");
}

TEST(SessionRules, WhatAClientSendsOnAStreamThatBothEndedEndsTheConnection) {
  for (const bool is_released : {false, true}) {
    for (const Wire& late :
         {frame(FrameType::data, flags::end_stream, 1, text("x")), frame(FrameType::headers, end_both, 1, get_block)}) {
      Peer peer(Role::server);
      ASSERT_TRUE(peer.request(1));
      peer.session.beginHeaders();
      peer.session.addField(http::FieldName::pseudo_status, "200");
      peer.session.endHeaders(*peer.streams[0], true);
      if (is_released) peer.session.release(*peer.streams[0]);
      // This may have crossed our END_STREAM.
      ASSERT_TRUE(peer.feed(frame(FrameType::window_update, 0, 1, be32(1))));
      EXPECT_FALSE(peer.feed(late));
      EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::stream_closed);
    }
  }
}

TEST(SessionRules, AnIdBelowAnEarlierOneIsNoClosedStream) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(5) && peer.request(9));
  EXPECT_FALSE(peer.request(7));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::protocol_error);
}

TEST(SessionRules, ARequestThatDependsOnItselfIsRefusedAlone) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, be32(1) + text("\x10") + get_block, end_both | flags::priority));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  ASSERT_TRUE(peer.request(3, be32(0) + text("\x10") + get_block, end_both | flags::priority));
  EXPECT_EQ(peer.log, "request 3 GET http a / |end\n");
}

// A request with a field of 3,900 bytes, which from then on is one byte: a literal with indexing, whose length is an
// integer of three bytes.
Wire growing() {
  const std::string value(3900, 'b');
  const Wire head{0x40, 0x01, 'x', 0x7f, static_cast<uint8_t>((3900 - 127) % 128 | 0x80), (3900 - 127) / 128};
  return get_block + head + Wire(value.begin(), value.end());
}

// One request whose fields come to 236 KB after the other, each answered with `code`: a few are tolerated.
void expectThatFewAreTolerated(Peer& peer, H2Error code) {
  uint32_t bombs = 0;
  while (bombs < 20 && peer.request(3 + 2 * bombs, get_block + Wire(60, 0xbe))) {
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), code) << "each is told what was wrong";
    bombs += 1;
  }
  EXPECT_GE(bombs, 2u) << "one mistake is none";
  EXPECT_LE(bombs, 10u);
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm);
}

TEST(SessionRules, FieldsThatGrowOutOfFewBytesCountByWhatTheyComeTo) {
  SessionConfig config;
  config.reset_burst = 80;
  Peer peer(Role::server, config);
  ASSERT_TRUE(peer.request(1, growing()));
  expectThatFewAreTolerated(peer, H2Error::enhance_your_calm);
}

TEST(SessionRules, FieldsThatGrowOutOfFewBytesCountByWhatTheyComeToOnRefusedStreamsToo) {
  SessionConfig config;
  config.reset_burst = 80;
  config.max_concurrent_streams = 1;
  Peer peer(Role::server, config);
  ASSERT_TRUE(peer.request(1, growing(), end_headers));
  expectThatFewAreTolerated(peer, H2Error::refused_stream);
}

TEST(SessionRules, AHeaderBlockThatComesToManyTimesWhatIsAllowedEndsTheConnection) {
  // By its size, of which 32 KiB are allowed, and by its fields, of which 100 and 256 cookies are.
  for (const auto& [tolerated, bomb] :
       {std::pair{Wire(60, 0xbe), Wire(70, 0xbe)}, {Wire(2800, 0x82), Wire(2900, 0x82)}}) {
    Peer peer(Role::server);
    ASSERT_TRUE(peer.request(1, growing()) && peer.request(3, get_block + tolerated));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::enhance_your_calm);
    EXPECT_FALSE(peer.request(5, get_block + bomb));
    EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm);
    EXPECT_EQ(faultOf(peer.error), Fault::message_too_large);
  }
}

TEST(SessionRules, AHeaderBlockThatIsTooLargeIsNamedAlikeWholeAndInPieces) {
  const Wire part(16'000, 0);
  Wire bytes = frame(FrameType::headers, 0, 1, part);
  for (int i = 0; i < 5; ++i) bytes = bytes + frame(FrameType::continuation, 0, 1, part);
  for (const size_t step : {size_t{1}, size_t{5000}, SIZE_MAX}) {
    Peer peer(Role::server);
    EXPECT_FALSE(peer.feed(bytes, step));
    EXPECT_STREQ(peer.error.reason, "a header block is too large") << step;
    EXPECT_EQ(faultOf(peer.error), Fault::continuation_flood) << step;
  }
}

TEST(SessionRules, ABackendThatSpeaksAfterTheEndDoesNotTakeOtherStreamsWithIt) {
  Peer peer(Role::client);
  peer.open(false);
  peer.open(true);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, ok_block) +
                        frame(FrameType::headers, end_both, 1, ok_block) +
                        frame(FrameType::headers, end_both, 3, ok_block)));
  EXPECT_EQ(peer.log, "response 1 200 |end\nerror 1 5\nresponse 3 200 |end\n");
}

TEST(SessionRules, ABackendThatSpeaksOnAStreamLongOverIsAnsweredForThatStreamAlone) {
  for (const Wire& late :
       {frame(FrameType::headers, end_both, 1, ok_block), frame(FrameType::data, flags::end_stream, 1, text("x"))}) {
    Peer peer(Role::client);
    Stream& first = peer.open(true);
    peer.open(true);
    peer.takeOutput();
    ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, ok_block)));
    peer.session.release(first);
    ASSERT_TRUE(peer.feed(late));
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::stream_closed);
    ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 3, ok_block)));
    EXPECT_EQ(peer.log, "response 1 200 |end\nresponse 3 200 |end\n");
  }
}

TEST(SessionRules, WhatAPeerSendsAfterItsOwnResetIsAnError) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, post_block, end_headers));
  ASSERT_TRUE(peer.feed(frame(FrameType::rst_stream, 0, 1, be32(8)) + frame(FrameType::data, 0, 1, text("x"))));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::stream_closed);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, ok_block)));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::stream_closed);
  EXPECT_TRUE(peer.log.ends_with("reset 1 8\n")) << peer.log;
}

TEST(SessionRules, AnswersThatCrossManyCancellationsAreIgnored) {
  Peer peer(Role::client);
  for (int i = 0; i < 300; ++i) {
    Stream& stream = peer.open(true);
    peer.session.sendReset(stream, H2Error::cancel);
    peer.session.release(stream);
  }
  peer.takeOutput();
  for (uint32_t id = 1; id < 600; id += 2) {
    ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_headers, id, ok_block) +
                          frame(FrameType::data, flags::end_stream, id, text("x"))))
        << id;
  }
  EXPECT_EQ(peer.log, "");
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::no_error);
}

TEST(SessionRules, ProvokedResetsCostTokensAsSentOnesDo) {
  SessionConfig config;
  config.reset_burst = 10;
  for (const bool malformed : {false, true}) {
    Peer peer(Role::server, config);
    uint32_t id = 1;
    for (bool alive = true; alive && id < 1000; id += 2) {
      alive = malformed ? peer.request(id, Wire{0x82})
                        : peer.request(id) && peer.feed(frame(FrameType::window_update, 0, id, be32(0)));
      if (alive && !malformed) peer.session.release(*peer.streams.back());
    }
    EXPECT_EQ(id, 23u);
    EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm);
  }
}

TEST(SessionRules, ARequestThatEndsWellPaysForOneThatIsReset) {
  SessionConfig config;
  config.reset_burst = 10;
  Peer peer(Role::server, config);
  for (uint32_t id = 1; id < 4000; id += 4) {
    ASSERT_TRUE(peer.request(id) && peer.feed(frame(FrameType::rst_stream, 0, id, be32(8))));
    peer.session.release(*peer.streams.back());
    ASSERT_TRUE(peer.request(id + 2));
    ASSERT_TRUE(peer.session.sendEnd(*peer.streams.back()));
    peer.session.release(*peer.streams.back());
    peer.takeOutput();
  }
}

TEST(SessionRules, StreamsFarBeyondWhatWasAnnouncedCostTheConnection) {
  SessionConfig config;
  config.reset_burst = 10;
  config.max_concurrent_streams = 2;
  Peer peer(Role::server, config);
  uint32_t id = 1;
  while (id < 1000 && peer.request(id)) id += 2;
  EXPECT_EQ(id, 1u + 2 * 12);
  EXPECT_EQ(peer.rejected, 10);
  EXPECT_EQ(faultOf(peer.error), Fault::stream_flood);
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm);
}

TEST(SessionRules, FramesThatCarryNothingAreBoundedInBothRoles) {
  SessionConfig config;
  config.idle_frame_burst = 100;
  const std::pair<const char*, Wire> floods[] = {
      {"SETTINGS", frame(FrameType::settings, 0, 0)},
      {"PING", frame(FrameType::ping, 0, 0, Wire(8))},
      {"PRIORITY", frame(FrameType::priority, 0, 9, be32(0) + Wire{1})},
      {"WINDOW_UPDATE", frame(FrameType::window_update, 0, 0, be32(1))},
      {"unknown", frame(static_cast<FrameType>(0x42), 0, 0)},
      {"GOAWAY", frame(FrameType::goaway, 0, 0, be32(0) + be32(0))},
  };
  for (const Role role : {Role::server, Role::client}) {
    for (const auto& [name, bytes] : floods) {
      Peer peer(role, config);
      int count = 0;
      while (count < 1000 && peer.feed(bytes)) {
        peer.takeOutput();
        count += 1;
      }
      EXPECT_LE(count, 100) << name;
      EXPECT_GE(count, 49) << name;
      EXPECT_EQ(faultOf(peer.error), Fault::frame_flood) << name;
      EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm) << name;
    }
  }
}

TEST(SessionRules, WindowsThatOpenByLittleEarnNothing) {
  SessionConfig config;
  config.idle_frame_burst = 100;
  const Wire body(100'000);
  for (const auto& [increment, is_tolerated] :
       std::initializer_list<std::pair<uint32_t, bool>>{{1, false}, {100, false}, {1024, true}}) {
    Peer peer(Role::server, config);
    ASSERT_TRUE(peer.request(1, text("\x82\x86\x84\x01\x01") + text("a"), end_both));
    Stream& stream = *peer.streams[0];
    while (peer.session.sendData(stream, Bytes(body), false) != 0) peer.takeOutput();
    int count = 0;
    while (count < 300 && peer.feed(frame(FrameType::window_update, 0, 0, be32(increment)) +
                                    frame(FrameType::window_update, 0, 1, be32(increment)))) {
      ASSERT_EQ(peer.session.sendData(stream, Bytes(body), false), increment);
      peer.takeOutput();
      count += 1;
    }
    EXPECT_EQ(count == 300, is_tolerated) << increment;
    if (!is_tolerated) EXPECT_EQ(faultOf(peer.error), Fault::frame_flood);
  }
}

TEST(SessionRules, FramesThatGoWithDataCostNothing) {
  SessionConfig config;
  config.idle_frame_burst = 100;
  Peer peer(Role::server, config);
  ASSERT_TRUE(peer.request(1, post_block, end_headers));
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, text("x")) + frame(FrameType::ping, 0, 0, Wire(8)) +
                          frame(FrameType::window_update, 0, 0, be32(1))));
    peer.takeOutput();
  }
  int count = 0;
  while (count < 1000 && peer.feed(frame(FrameType::data, 0, 1))) count += 1;
  EXPECT_LE(count, 100) << "empty DATA is none";
}

TEST(SessionRules, InterimResponsesWithoutEndAreResetForTheirStreamAlone) {
  Peer peer(Role::client);
  Stream streams[2];
  for (Stream& stream : streams) {
    peer.session.beginHeaders();
    peer.session.addField(http::FieldName::pseudo_method, "GET");
    peer.session.endHeaders(stream, true);
  }
  peer.takeOutput();
  const Wire hints = frame(FrameType::headers, end_headers, 1, field(":status", "103"));
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(peer.feed(hints));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::no_error);
  ASSERT_TRUE(peer.feed(hints));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::enhance_your_calm);
  EXPECT_EQ(peer.last.fault, Fault::interim_flood);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 3, ok_block)));
  EXPECT_TRUE(peer.log.ends_with("response 3 200 |end\n")) << peer.log;
  for (Stream& stream : streams) peer.session.release(stream);
}

TEST(SessionRules, PriorityIsIgnoredUnlessItIsBroken) {
  Peer idle(Role::server);
  ASSERT_TRUE(idle.feed(frame(FrameType::priority, 0, 9, be32(7) + Wire{1})));
  EXPECT_EQ(idle.takeOutput().size(), 0u);
  EXPECT_FALSE(idle.feed(frame(FrameType::priority, 0, 9, be32(7))));
  EXPECT_EQ(idle.sentCode(FrameType::goaway), H2Error::frame_size_error);
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1) && peer.request(3) && peer.request(5));
  ASSERT_TRUE(
      peer.feed(frame(FrameType::priority, 0, 1, be32(0)) + frame(FrameType::priority, 0, 3, be32(3) + Wire{1})));
  EXPECT_TRUE(peer.log.ends_with("error 1 6\nerror 3 1\n")) << peer.log;
}

TEST(SessionRules, NoBlockIsHeldBetweenFrames) {
  Peer peer(Role::server);
  const Wire long_get = get_block + field("x", std::string(120, 'y')) + field("y", std::string(120, 'y'));
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, long_get), 20));
  EXPECT_EQ(peer.carry.used(), 0u);
  // Unfinished control frames have blocks of their own, one for each session.
  const Wire ping = frame(FrameType::ping, 0, 0, Wire(8));
  ASSERT_TRUE(peer.feed(Wire(ping.begin(), ping.end() - 1)));
  EXPECT_EQ(peer.carry.used(), 0u);
  EXPECT_EQ(peer.scratch->small_carries.used(), 1u);
  ASSERT_TRUE(peer.feed(Wire(ping.end() - 1, ping.end())));
  EXPECT_EQ(peer.scratch->small_carries.used(), 0u);
}

// A carry that is small gives way to a large one with what it holds. AddressSanitizer knows when that is read too late.
TEST(SessionRules, AHeaderBlockWhoseFirstFrameCameInSmallPiecesIsKeptWhole) {
  Peer peer(Role::server);
  const Wire block = get_block + field("x", std::string(40, 'y')) + field("z", std::string(120, 'z'));
  const Wire first(block.begin(), block.begin() + 50);
  const Wire rest(block.begin() + 50, block.end());
  ASSERT_TRUE(peer.feed(
      frame(FrameType::headers, flags::end_stream, 1, first) + frame(FrameType::continuation, end_headers, 1, rest),
      20));
  EXPECT_EQ(peer.last.kind, Event::Kind::request);
  ASSERT_EQ(peer.last.fields.count(), 2u);
  EXPECT_EQ(peer.last.fields[0].value, std::string(40, 'y'));
  EXPECT_EQ(peer.last.fields[1].value, std::string(120, 'z'));
  EXPECT_EQ(peer.carry.used() + peer.scratch->small_carries.used(), 0u);
}

TEST(SessionRules, AnIdleSessionHoldsNothingButItsTables) {
  Peer peer(Role::server);
  for (uint32_t id = 1; id <= 39; id += 2) ASSERT_TRUE(peer.request(id));
  EXPECT_EQ(peer.scratch->buckets.used(), 1u);
  for (uint32_t id = 1; id <= 39; id += 2) {
    ASSERT_NE(peer.session.find(id), nullptr) << id;
    EXPECT_EQ(peer.session.find(id)->id, id);
    EXPECT_EQ(peer.session.find(id + 1), nullptr);
  }
  for (uint32_t id = 1; id <= 39; id += 2) {
    peer.session.release(*peer.session.find(id));
    EXPECT_EQ(peer.session.find(id), nullptr);
    if (id < 39) {
      EXPECT_NE(peer.session.find(39), nullptr);
    }
  }
  EXPECT_EQ(peer.scratch->buckets.used(), 0u);
  EXPECT_EQ(peer.scratch->resets.used(), 0u);
  EXPECT_LE(peer.scratch->tables.used(), 1u);
}

TEST(SessionRules, AnotherProtocolIsToldByItsFirstByte) {
  End other(Role::client);
  other.session.start();
  EXPECT_FALSE(other.feed(Wire{'2'}));
  EXPECT_EQ(other.error.code, ErrorCode::protocol_error);
  End slow(Role::client);
  slow.session.start();
  EXPECT_TRUE(slow.feed(frame(FrameType::settings, 0, 0), 1));
  EXPECT_EQ(slow.last.kind, Event::Kind::settings);
}

TEST(SessionRules, AGoawayNeverRaisesItsId) {
  Peer peer(Role::client);
  for (int i = 0; i < 3; ++i) peer.open(true);
  ASSERT_TRUE(peer.feed(frame(FrameType::goaway, 0, 0, be32(3) + be32(0))));
  ASSERT_TRUE(peer.feed(frame(FrameType::goaway, 0, 0, be32(5) + be32(0))));
  EXPECT_EQ(peer.last.last_stream_id, 3u);
}

TEST(SessionRules, AnErrorAfterAGoawayDoesNotRaiseItsId) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, get_block));
  peer.session.refuseAbove(1);
  peer.session.sendGoaway(1, H2Error::no_error);
  ASSERT_TRUE(peer.request(3, get_block));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::refused_stream);
  EXPECT_FALSE(peer.feed(frame(FrameType::ping, 0, 1, Wire(8))));
  const auto sent = peer.sent();
  ASSERT_EQ(sent.back().header.type, FrameType::goaway);
  EXPECT_EQ(sent.back().payload, be32(1) + be32(1) + text("PING on a stream (RFC 9113 §6.7)"));
}

TEST(SessionRules, TeIsForRequestsAlone) {
  Peer peer(Role::client);
  peer.open(true);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, ok_block + field("te", "trailers"))));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
}

TEST(SessionRules, RepliesThatNobodyReadsStopTheReading) {
  Peer peer(Role::server);
  for (int i = 0; i < 64; ++i) {
    EXPECT_FALSE(peer.session.isControlBacklogged());
    ASSERT_TRUE(peer.feed(frame(FrameType::ping, 0, 0, Wire(8))));
  }
  EXPECT_TRUE(peer.session.isControlBacklogged());
  EXPECT_EQ(peer.sent().size(), 64u);
  EXPECT_FALSE(peer.session.isControlBacklogged());
  EXPECT_FALSE(peer.feed(frame(FrameType::settings, 0, 0, Wire(33 * 6))));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm);
}

TEST(SessionRules, ResponsesWithoutContentMayNameALength) {
  Peer peer(Role::client);
  peer.open(true, "HEAD");
  peer.open(false, "CONNECT");
  peer.open(true);
  const Wire length = field("content-length", "42");
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, ok_block + length) +
                        frame(FrameType::headers, end_headers, 3, ok_block + length) +
                        frame(FrameType::data, flags::end_stream, 3, text("tunnel")) +
                        frame(FrameType::headers, end_both, 5, Wire{0x8b} + length)));
  EXPECT_EQ(peer.log,
            "response 1 200 content-length=42 |end\nresponse 3 200 content-length=42\ndata 3 tunnel|end\nresponse 5 "
            "304 content-length=42 |end\n");
}

TEST(SessionRules, MalformedResponsesResetTheirStream) {
  const std::vector<Wire> blocks = {
      field("a", "b"),  // no :status
      field(":status", "20"),
      field(":status", "2x0"),
      field(":status", "600"),
      field(":status", "101"),
      {0x88, 0x88},  // :status twice
      {0x88, 0x82},  // :method in a response
      ok_block + field("transfer-encoding", "chunked"),
      ok_block + field("content-length", "1") + field("content-length", "2"),
      ok_block + field("content-length", "5"),  // and END_STREAM
      field(":status", "103"),                  // and END_STREAM
  };
  for (size_t i = 0; i < blocks.size(); ++i) {
    Peer peer(Role::client);
    peer.open(true);
    peer.takeOutput();
    ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, blocks[i])));
    EXPECT_EQ(peer.log, "error 1 1\n") << i;
  }
}

TEST(SessionRules, TrailersEndTheStreamAndHoldNoPseudoFields) {
  for (const bool pseudo : {false, true}) {
    Peer peer(Role::server);
    ASSERT_TRUE(peer.request(1, post_block, end_headers));
    ASSERT_TRUE(pseudo ? peer.feed(frame(FrameType::headers, end_both, 1, ok_block))
                       : peer.feed(frame(FrameType::headers, end_headers, 1, field("a", "b"))));
    EXPECT_TRUE(peer.log.ends_with("error 1 1\n"));
  }
}

TEST(SessionRules, ALargeHeadIsCutIntoContinuationsThatTheOtherRoleReads) {
  Peer client(Role::client);
  Peer server(Role::server);
  const std::string value(1000, '\x80');  // no shorter in Huffman's code
  client.streams.push_back(std::make_unique<Stream>());
  ASSERT_TRUE(client.session.canSendHeaders(31'000, 35));
  client.session.beginHeaders();
  client.session.addField(http::FieldName::pseudo_method, "GET");
  client.session.addField(http::FieldName::pseudo_scheme, "http");
  client.session.addField(http::FieldName::pseudo_path, "/");
  client.session.addField(http::FieldName::pseudo_authority, "a");
  for (int i = 0; i < 30; ++i) client.session.addField("x", value, http::FieldName::unknown, Indexing::avoid);
  client.session.endHeaders(*client.streams.back(), true);
  ASSERT_TRUE(server.feed(client.takeOutput(), 999));
  EXPECT_EQ(server.last.kind, Event::Kind::request);
  EXPECT_EQ(server.last.fields.count(), 30u);
  EXPECT_EQ(server.carry.used(), 0u);
  EXPECT_FALSE(client.session.canSendHeaders(SessionScratch::encode_memory, 1));
}

// Whatever is said, cutting the bytes elsewhere changes neither the events nor the answers.
TEST(SessionRules, HowBytesAreCutMakesNoDifference) {
  Random random(99);
  for (int round = 0; round < 400; ++round) {
    const Role role = round % 2 == 0 ? Role::server : Role::client;
    Wire wire = opening(role);
    for (int i = 0; i < 30; ++i) {
      const uint32_t id = random.below(20) == 0 ? random.below(4) : 2 * random.below(8) + 1;
      const auto frame_flags = static_cast<uint8_t>(
          random.below(3) == 0 ? random.below(64) : random.below(2) + (random.below(8) != 0 ? 4 : 0));
      Wire payload;
      FrameType type = FrameType::data;
      switch (random.below(8)) {
        case 0:
        case 1:
        case 2:
          type = FrameType::headers;
          payload = (role == Role::server ? get_block : ok_block) + field("x", "y");
          break;
        case 3:
        case 4:
          payload = Wire(random.below(300), 'd');
          break;
        case 5:
          type = FrameType::window_update, payload = be32(random.below(100'000));
          break;
        case 6:
          type = random.below(2) == 0 ? FrameType::ping : FrameType::goaway, payload = Wire(8);
          break;
        default:
          type = static_cast<FrameType>(random.below(12)), payload = Wire(random.below(12));
          break;
      }
      wire = wire + frame(type, frame_flags, id, payload);
    }
    std::string logs[3];
    Wire outputs[3];
    const size_t steps[3] = {SIZE_MAX, 1, 1 + random.below(40)};
    for (int i = 0; i < 3; ++i) {
      End end(role);
      end.session.start();
      if (role == Role::client) {
        for (int n = 0; n < 8; ++n) end.open(n % 2 == 0);
      }
      end.feed(wire, steps[i]);
      logs[i] = end.log;
      outputs[i] = end.takeOutput();
    }
    ASSERT_EQ(logs[0], logs[1]) << round;
    ASSERT_EQ(logs[0], logs[2]) << round;
    ASSERT_EQ(outputs[0], outputs[1]) << round;
    ASSERT_EQ(outputs[0], outputs[2]) << round;
  }
}

}  // namespace
}  // namespace plait::h2
