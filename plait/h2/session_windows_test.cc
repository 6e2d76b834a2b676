// Flow control (RFC 9113 §5.2, §6.9) of a session whose peer exceeds its windows, changes them, or is reset.
#include "plait/h2/rules_test.h"

namespace plait::h2 {
namespace {

using namespace rules;

TEST(SessionWindows, AClientMayUseTheDefaultWindowUntilItKnowsOurs) {
  SessionConfig config;
  config.stream_window = 20'000;
  Peer peer(Role::server, config);
  peer.credits = false;
  ASSERT_TRUE(peer.request(1, post_block, end_headers));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, Wire(10'000))));
  EXPECT_FALSE(peer.streams[0]->isReset());
  ASSERT_TRUE(peer.feed(frame(FrameType::settings, flags::ack, 0)));
  EXPECT_TRUE(peer.session.settingsAcknowledged());
  EXPECT_EQ(peer.streams[0]->receive_window.size(), -10'000);
  ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, Wire(1))));
  EXPECT_TRUE(peer.streams[0]->isReset());
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::flow_control_error);
}

TEST(SessionWindows, DataThatCrossesAResetKeepsWithinTheStreamsWindow) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, post_block, end_headers) && peer.request(3, post_block, end_headers));
  ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, Wire(5535))));
  peer.session.sendReset(*peer.streams[0], H2Error::cancel);
  peer.session.release(*peer.streams[0]);
  // Of 65,535 bytes 60,000 are left, however they are cut.
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, Wire(9'999)))) << i;
  ASSERT_TRUE(peer.feed(frame(FrameType::data, flags::end_stream, 1, Wire(6))));
  ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 3, Wire(100))));
  EXPECT_FALSE(peer.feed(frame(FrameType::data, 0, 1, Wire(1))));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::flow_control_error);
}

TEST(SessionWindows, NothingMayCrossTheResetOfAStreamThatHadEnded) {
  // As a client: a fault on a stream that is gone is answered by a reset, again and again, and opens no window.
  Peer peer(Role::client);
  Stream& first = peer.open(true);
  peer.open(true);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 1, ok_block)));
  peer.session.release(first);
  ASSERT_TRUE(peer.feed(frame(FrameType::priority, 0, 1, Wire(4))));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::frame_size_error);
  EXPECT_FALSE(peer.feed(frame(FrameType::data, 0, 1, Wire(1))));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::flow_control_error);
  // As a server: a request that has ended and is refused.
  Peer server(Role::server);
  ASSERT_TRUE(server.request(1, text("\x82"), end_both));
  EXPECT_EQ(server.sentCode(FrameType::rst_stream), H2Error::protocol_error);
  EXPECT_FALSE(server.feed(frame(FrameType::data, 0, 1, Wire(1))));
  // One that has not may have sent what its window allows.
  Peer other(Role::server);
  ASSERT_TRUE(other.request(1, text("\x82"), end_headers));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(other.feed(frame(FrameType::data, 0, 1, Wire(16'384)))) << i;
  ASSERT_TRUE(other.feed(frame(FrameType::data, 0, 1, Wire(16'383))));
}

TEST(SessionWindows, WhoExceedsAStreamsWindowAndGoesOnLosesTheConnection) {
  Peer peer(Role::server);
  peer.credits = false;
  peer.session.growConnectionWindow(1 << 20);
  ASSERT_TRUE(peer.request(1, post_block, end_headers));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, Wire(16'384)))) << i;
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::flow_control_error);
  EXPECT_FALSE(peer.feed(frame(FrameType::data, 0, 1, Wire(16'384))));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::flow_control_error);
}

TEST(SessionWindows, DataBeyondTheConnectionsWindowEndsTheConnection) {
  Peer peer(Role::server);
  peer.credits = false;
  ASSERT_TRUE(peer.request(1, post_block, end_headers) && peer.request(3, post_block, end_headers));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 1, Wire(16'384))));
  ASSERT_TRUE(peer.feed(frame(FrameType::data, 0, 3, Wire(16'383))));
  EXPECT_FALSE(peer.feed(frame(FrameType::data, 0, 3, Wire(1))));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::flow_control_error);
}

TEST(SessionWindows, GrownWindowsAreAnnouncedWithTheCreditThatWaited) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, post_block, end_headers) && peer.feed(frame(FrameType::data, 0, 1, Wire(1000))));
  Stream& stream = *peer.streams[0];
  EXPECT_EQ(peer.takeOutput().size(), 0u);
  peer.session.growStreamWindow(stream, 100'000);
  peer.session.growConnectionWindow(1 << 20);
  peer.session.growStreamWindow(stream, 50'000);  // never shrinks
  const auto sent = peer.sent();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(loadBe32(sent[0].payload.data()), 100'000u - 65'535 + 1000);
  EXPECT_EQ(loadBe32(sent[1].payload.data()), (1u << 20) - 65'535 + 1000);
  EXPECT_EQ(stream.receive_window.size(), 100'000);
  EXPECT_EQ(peer.session.receiveWindow(), 1 << 20);
}

// With halves the rest of a full window would often wait for a round trip.
TEST(SessionWindows, AWindowThatHasGrownComesBackInSmallParts) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, post_block, end_headers));
  Stream& stream = *peer.streams[0];
  const auto firstUpdate = [&] {
    peer.takeOutput();
    uint32_t taken = 0;
    while (peer.takeOutput().empty()) {
      peer.session.creditStream(stream, 1);
      taken += 1;
    }
    return taken;
  };
  EXPECT_EQ(firstUpdate(), 65'535u / 2);
  peer.session.growStreamWindow(stream, 128 << 10);
  EXPECT_EQ(firstUpdate(), 65'535u / 2);
  peer.session.growStreamWindow(stream, 1 << 20);
  EXPECT_EQ(firstUpdate(), 1u << 17);
}

TEST(SessionWindows, PaddingIsCreditedByTheSessionItself) {
  Peer peer(Role::server);
  peer.credits = false;
  ASSERT_TRUE(peer.request(1, post_block, end_headers));
  const Wire padding_only = frame(FrameType::data, flags::padded, 1, Wire{255} + Wire(255));
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(peer.feed(padding_only, 100)) << i;
  ASSERT_TRUE(peer.feed(frame(FrameType::data, flags::padded | flags::end_stream, 1, Wire{3, 0, 0, 0})));
  EXPECT_TRUE(peer.log.ends_with("data 1 |end\n")) << peer.log;
}

TEST(SessionWindows, ASettingThatOverflowsAStreamsWindowEndsTheConnection) {
  Peer peer(Role::client);
  peer.open(false);
  ASSERT_TRUE(peer.feed(frame(FrameType::window_update, 0, 1, be32(0x7fffffff - 65'535))));
  EXPECT_FALSE(peer.feed(settings(SettingId::initial_window_size, 65'536)));
  EXPECT_EQ(peer.sentCode(FrameType::goaway), H2Error::flow_control_error);
}

TEST(SessionWindows, AWindowUpdateThatOverflowsAStreamResetsItAlone) {
  Peer peer(Role::client);
  peer.open(false);
  peer.open(false);
  peer.takeOutput();
  ASSERT_TRUE(peer.feed(frame(FrameType::window_update, 0, 1, be32(0x7fffffff))));
  EXPECT_EQ(peer.sentCode(FrameType::rst_stream), H2Error::flow_control_error);
  ASSERT_TRUE(peer.feed(frame(FrameType::headers, end_both, 3, ok_block)));
  EXPECT_EQ(peer.log, "error 1 3\nresponse 3 200 |end\n");
}

TEST(SessionWindows, ASettingOverflowsNoWindowOfAStreamThatIsOver) {
  Peer peer(Role::server);
  ASSERT_TRUE(peer.request(1, get_block));
  ASSERT_TRUE(peer.feed(frame(FrameType::window_update, 0, 1, be32(0x7fffffff - 65'535)) +
                        frame(FrameType::rst_stream, 0, 1, be32(8)) +
                        settings(SettingId::initial_window_size, 1 << 20)));
}

}  // namespace
}  // namespace plait::h2
