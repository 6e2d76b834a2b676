// Dialogues of frames with the session, in both roles.
#include "plait/h2/session.h"

#include "plait/h2/rules_test.h"

namespace plait::h2 {
namespace {

using namespace rules;

TEST(Session, ARequestWithBodyAndTrailersArrivesTheSameByteByByte) {
  for (const size_t step : {SIZE_MAX, size_t{1}, size_t{7}}) {
    Peer peer(Role::server);
    const Wire trailers = {0x00, 0x01, 'x', 0x01, 'y'};
    const Wire padded = Wire{2} + text("hello") + Wire{0, 0};
    ASSERT_TRUE(
        peer.feed(frame(FrameType::headers, 0, 1, Wire(post_block.begin(), post_block.begin() + 2)) +
                      frame(FrameType::continuation, end_headers, 1, Wire(post_block.begin() + 2, post_block.end())) +
                      frame(FrameType::data, flags::padded, 1, padded) + frame(FrameType::data, 0, 1, text(" world")) +
                      frame(FrameType::headers, end_both, 1, trailers),
                  step));
    EXPECT_EQ(peer.log, "request 1 POST http a /\ndata 1 hello worldtrailers 1 x=y |end\n");
    EXPECT_EQ(peer.streams[0]->state, StreamState::half_closed_remote);
  }
}

TEST(Session, WithoutRoomForItsBeginningNothingIsSaid) {
  for (const Role role : {Role::client, Role::server}) {
    End end(role);
    std::vector<uint8_t*> taken;
    while (void* block = end.blocks.take()) taken.push_back(static_cast<uint8_t*>(block));
    end.session.start();
    for (uint8_t* block : taken) end.blocks.give(block);
    end.session.sendPing(1);
    end.session.sendGoaway(0, H2Error::no_error);
    EXPECT_TRUE(end.output.empty()) << "the other side would take it for the beginning";
    EXPECT_FALSE(end.feed(opening(role)));
  }
}

TEST(Session, ConnectionErrorsGetTheCodeThatTheRfcNames) {
  struct Case {
    Wire wire;
    H2Error code;
    const char* what;
  };
  const std::vector<Case> cases = {
      {frame(FrameType::data, 0, 0, text("x")), H2Error::protocol_error, "DATA on stream 0"},
      {frame(FrameType::data, 0, 1, text("x")), H2Error::protocol_error, "DATA on an idle stream"},
      {frame(FrameType::headers, end_both, 2, get_block), H2Error::protocol_error, "an even id"},
      {frame(FrameType::headers, end_both, 5, get_block) + frame(FrameType::headers, end_both, 3, get_block),
       H2Error::protocol_error, "an id below an earlier one"},
      {frame(FrameType::headers, 0, 1, get_block) + frame(FrameType::ping, 0, 0, Wire(8)), H2Error::protocol_error,
       "an interrupted block"},
      {frame(FrameType::continuation, end_headers, 1, get_block), H2Error::protocol_error, "CONTINUATION alone"},
      {frame(FrameType::rst_stream, 0, 1, be32(8)), H2Error::protocol_error, "RST_STREAM on idle"},
      {frame(FrameType::rst_stream, 0, 1, Wire(3)), H2Error::frame_size_error, "a short RST_STREAM"},
      {frame(FrameType::settings, 0, 1), H2Error::protocol_error, "SETTINGS on a stream"},
      {frame(FrameType::settings, 0, 0, Wire(5)), H2Error::frame_size_error, "SETTINGS of 5 bytes"},
      {frame(FrameType::settings, flags::ack, 0, Wire(6)), H2Error::frame_size_error, "an ACK with payload"},
      {settings(SettingId::enable_push, 2), H2Error::protocol_error, "ENABLE_PUSH 2"},
      {settings(SettingId::initial_window_size, 0x80000000), H2Error::flow_control_error, "a huge window"},
      {settings(SettingId::max_frame_size, 100), H2Error::protocol_error, "a small MAX_FRAME_SIZE"},
      {frame(FrameType::push_promise, end_headers, 1, be32(2)), H2Error::protocol_error, "PUSH_PROMISE"},
      {frame(FrameType::ping, 0, 0, Wire(7)), H2Error::frame_size_error, "a short PING"},
      {frame(FrameType::ping, 0, 1, Wire(8)), H2Error::protocol_error, "PING on a stream"},
      {frame(FrameType::window_update, 0, 0, be32(0)), H2Error::protocol_error, "WINDOW_UPDATE of 0"},
      {frame(FrameType::window_update, 0, 0, be32(0x7fffffff)), H2Error::flow_control_error, "a window above 2^31-1"},
      {frame(FrameType::window_update, 0, 1, be32(1)), H2Error::protocol_error, "WINDOW_UPDATE on idle"},
      {frame(FrameType::headers, end_both, 1, Wire{0xff, 0xff, 0xff, 0xff, 0x7f}), H2Error::compression_error,
       "a bad index"},
      {frame(FrameType::headers, end_both | flags::padded, 1, Wire{9, 0x82}), H2Error::protocol_error,
       "too much padding"},
      {frame(FrameType::data, 0, 1, Wire(16'385)), H2Error::frame_size_error, "a frame above MAX_FRAME_SIZE"},
  };
  for (const Case& one : cases) {
    Peer peer(Role::server);
    EXPECT_FALSE(peer.feed(one.wire)) << one.what;
    EXPECT_EQ(peer.sentCode(FrameType::goaway), one.code) << one.what;
  }
}

TEST(Session, MalformedRequestsAreResetAndTheConnectionLivesOn) {
  const std::vector<Wire> blocks = {
      {0x86, 0x84},                                          // no :method
      {0x82, 0x84},                                          // no :scheme
      {0x82, 0x86},                                          // no :path
      {0x82, 0x82, 0x86, 0x84},                              // :method twice
      {0x82, 0x86, 0x84, 0x00, 0x01, 'A', 0x01, 'b'},        // an upper-case name
      {0x82, 0x86, 0x84, 0x00, 0x01, 'a', 0x02, 'b', '\n'},  // a line break in a value
      {0x82, 0x86, 0x84, 0x00, 0x02, 't', 'e', 0x01, 'x'},   // TE that is not "trailers"
      Wire{0x82, 0x86, 0x84, 0x00, 0x0a} + text("connection") + Wire{0x01, 'x'},
      {0x82, 0x86, 0x84, 0x00, 0x01, 'a', 0x01, 'b', 0x82},  // a pseudo-header field last
      {0x82, 0x86, 0x84, 0x88},                              // :status in a request
  };
  for (size_t i = 0; i < blocks.size(); ++i) {
    Peer peer(Role::server);
    ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, blocks[i]))) << i;
    EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error) << i;
    EXPECT_TRUE(peer.feed(frame(FrameType::headers, end_both, 3, get_block))) << i;
    EXPECT_EQ(peer.log, "request 3 GET http a / |end\n") << i;
  }
}

TEST(Session, DataMustAddUpToContentLength) {
  const Wire block = post_block + Wire{0x0f, 0x0d, 0x01, '3'};
  for (const auto& [data, end, ok] : std::vector<std::tuple<std::string, bool, bool>>{
           {"abc", true, true}, {"ab", true, false}, {"abcd", false, false}}) {
    Peer peer(Role::server);
    ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_headers, 1, block) +
                          frame(FrameType::data, end ? flags::end_stream : 0, 1, text(data))));
    EXPECT_EQ(peer.last.kind == Event::Kind::data, ok) << data;
    if (!ok) EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  }
}

TEST(Session, AStreamBeyondTheLimitIsRefusedAndTheTablesStayInStep) {
  SessionConfig config;
  config.max_concurrent_streams = 1;
  Peer peer(Role::server, config);
  const Wire indexed = Wire{0x82, 0x86, 0x84, 0x41, 0x01, 'a'};
  ASSERT_TRUE(
      peer.feed(frame(FrameType::headers, end_both, 1, get_block) + frame(FrameType::headers, end_both, 3, indexed)));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::refused_stream);
  // A stream that the client has reset is over, whether or not its owner has noticed.
  ASSERT_TRUE(peer.feed(frame(FrameType::rst_stream, 0, 1, be32(8)) +
                        frame(FrameType::headers, end_both, 5, {0x82, 0x86, 0x84, 0xbe})));
  EXPECT_EQ(peer.last.kind, Event::Kind::request);
  peer.session.release(*peer.streams[0]);
  peer.session.release(*peer.streams[1]);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 7, {0x82, 0x86, 0x84, 0xbe})));
  EXPECT_EQ(peer.last.request.authority, "a");
}

TEST(Session, SessionsThatShareTheirMemoryHaveSettingsOfTheirOwn) {
  BlockSlab blocks{16 * 1024, 64};
  BlockSlab carry{HpackScratch::max_block_size, 4};
  const auto scratch = std::make_unique<SessionScratch>(2, carry);
  SessionConfig few;
  few.max_concurrent_streams = 3;
  SessionConfig many;
  many.max_concurrent_streams = 200;
  for (const SessionConfig* config : {&few, &many}) {
    ByteQueue output(blocks);
    Session session(Role::server, output, *scratch, *config);
    session.start();
    Wire said;
    for (; !output.empty(); output.consume(output.front().size()))
      said.insert(said.end(), output.front().begin(), output.front().end());
    const Wire announced = Wire{0, 3} + be32(config->max_concurrent_streams);
    EXPECT_NE(std::ranges::search(said, announced).begin(), said.end()) << config->max_concurrent_streams;
  }
}

TEST(Session, AWindowThatASettingMadeNegativeHoldsDataBack) {
  Peer peer(Role::client);
  Stream& stream = peer.open(false);
  ASSERT_EQ(peer.session.sendData(stream, Wire(60'000), false), 60'000u);
  ASSERT_TRUE(peer.feed(settings(SettingId::initial_window_size, 16'384)));
  EXPECT_EQ(stream.send_window.size(), 5'535 - 49'151);
  EXPECT_EQ(peer.session.sendable(stream), 0u);
  ASSERT_TRUE(peer.feed(frame(FrameType::window_update, 0, 1, be32(43'616)) +
                        frame(FrameType::window_update, 0, 0, be32(100'000))));
  EXPECT_EQ(peer.session.sendable(stream), 0u);
  ASSERT_TRUE(peer.feed(frame(FrameType::window_update, 0, 1, be32(10))));
  peer.sent();
  EXPECT_EQ(peer.session.sendData(stream, Wire(100), true), 10u);
  EXPECT_FALSE(stream.hasSentEnd());
}

TEST(Session, CreditForDataOnADeadStreamGoesBackToTheConnection) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_headers, 1, post_block)));
  peer.session.sendReset(*peer.streams[0], H2Error::cancel);
  peer.session.release(*peer.streams[0]);
  peer.sent();
  ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, Wire(16'384)) + frame(FrameType::data, 0, 1, Wire(16'384))));
  const auto sent = peer.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].header.type, FrameType::window_update);
  EXPECT_EQ(sent[0].header.stream_id, 0u);
  EXPECT_EQ(loadBe32(sent[0].payload.data()), 32'768u);
}

TEST(Session, AClientSeesInterimAndFinalHeadsAndGoaway) {
  Peer peer(Role::client);
  Stream& stream = peer.open(true);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_headers, 1, {0x08, 0x03, '1', '0', '3'}) +
                        frame(FrameType::headers, end_headers, 1, ok_block) +
                        frame(FrameType::data, flags::end_stream, 1, text("hi")) +
                        frame(FrameType::goaway, 0, 0, be32(1) + be32(0) + text("bye"))));
  EXPECT_EQ(peer.log, "response 1 103\nresponse 1 200\ndata 1 hi|end\nevent 10\n");
  EXPECT_EQ(asText(peer.last.data), "bye");
  EXPECT_TRUE(stream.isClosed());
  EXPECT_FALSE(peer.session.canOpenStream());
}

TEST(Session, StringsGoToServersAsTheyAreAndToClientsInHuffmansCode) {
  const std::string value(40, '1');  // five bits each
  const auto isPlain = [&](Peer& peer) {
    const auto sent = peer.sent();
    EXPECT_EQ(sent.size(), 1u);
    return std::string(sent[0].payload.begin(), sent[0].payload.end()).find(value) != std::string::npos;
  };
  Peer client(Role::client);
  client.streams.push_back(std::make_unique<Stream>());
  client.session.beginHeaders();
  client.session.addField(http::FieldName::pseudo_method, "GET");
  client.session.addField(http::FieldName::pseudo_path, value, Indexing::avoid);
  client.session.endHeaders(*client.streams.back(), true);
  EXPECT_TRUE(isPlain(client));
  Peer server(Role::server);
  ASSERT_TRUE(server.feed(frame(FrameType::headers, end_both, 1, get_block)));
  server.session.beginHeaders();
  server.session.addField(http::FieldName::pseudo_status, "200");
  server.session.addField("etag", value, http::FieldName::etag, Indexing::avoid);
  server.session.endHeaders(*server.streams.back(), true);
  EXPECT_FALSE(isPlain(server));
}

TEST(Session, AResponseToHeadMayNameALengthButHasNoData) {
  Peer peer(Role::client);
  peer.open(true, "HEAD");
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, ok_block + Wire{0x0f, 0x0d, 0x02, '4', '2'})));
  EXPECT_EQ(peer.last.response.content_length, 42u);
  peer.open(true, "HEAD");
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_headers, 3, ok_block) + frame(FrameType::data, 0, 3, text("x"))));
  EXPECT_EQ(peer.last.kind, Event::Kind::stream_error);
}

TEST(Session, AFloodOfContinuationsOrResetsEndsTheConnection) {
  Peer peer(Role::server);
  Wire flood = frame(FrameType::headers, 0, 1, get_block);
  for (int i = 0; i < 9; ++i) flood = flood + frame(FrameType::continuation, 0, 1);
  EXPECT_FALSE(peer.feed(flood));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::enhance_your_calm);
  SessionConfig config;
  config.reset_burst = 10;
  Peer rapid(Role::server, config);
  bool alive = true;
  for (uint32_t id = 1; alive && id < 2000; id += 2) {
    alive =
        rapid.feed(frame(FrameType::headers, end_both, id, get_block) + frame(FrameType::rst_stream, 0, id, be32(8)));
    if (alive) rapid.session.release(*rapid.streams.back());
  }
  EXPECT_FALSE(alive);
  EXPECT_EQ(rapid.sentCode(FrameType::goaway), H2Error::enhance_your_calm);
}

}  // namespace
}  // namespace plait::h2
