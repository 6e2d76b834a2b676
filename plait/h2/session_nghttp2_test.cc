// Our session talks to libnghttp2's over memory, in both roles: requests with bodies and trailers, small windows, and
// pieces of every size.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <map>

#include "plait/base/random.h"
#include "plait/h2/wire_test.h"

namespace plait::h2 {
namespace {

using namespace wire;

struct Message {
  std::string body;
  size_t body_sent = 0;
  std::string received;
  bool head_seen = false;
  bool ended = false;
};

// nghttp2's end. Its callbacks find this object through the user data.
struct Oracle {
  explicit Oracle(Role role) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size, void* self) {
          static_cast<Oracle*>(self)->messages[id].received.append(reinterpret_cast<const char*>(data), size);
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
                                                         [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
                                                           static_cast<Oracle*>(self)->onFrame(*frame);
                                                           return 0;
                                                         });
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame*, int code, void*) {
          ADD_FAILURE() << nghttp2_strerror(code);
          return 0;
        });
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_max_send_header_block_length(option, 1 << 20);
    if (role == Role::server) {
      nghttp2_session_server_new2(&session, callbacks, this, option);
    } else {
      nghttp2_session_client_new2(&session, callbacks, this, option);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 3000};
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &entry, 1);
  }
  ~Oracle() { nghttp2_session_del(session); }

  void onFrame(const nghttp2_frame& frame) {
    Message& message = messages[frame.hd.stream_id];
    if (frame.hd.type == NGHTTP2_HEADERS) message.head_seen = true;
    if (frame.hd.type == NGHTTP2_GOAWAY || (frame.hd.type == NGHTTP2_RST_STREAM && !expects_resets))
      ADD_FAILURE() << "frame " << int{frame.hd.type};
    const bool has_end = frame.hd.type == NGHTTP2_HEADERS || frame.hd.type == NGHTTP2_DATA;
    if (!has_end || (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return;
    message.ended = true;
    if (responds && nghttp2_session_check_server_session(session)) respond(frame.hd.stream_id);
  }
  static nghttp2_nv field(std::string_view name, std::string_view value) {
    return {const_cast<uint8_t*>(asBytes(name).data()), const_cast<uint8_t*>(asBytes(value).data()), name.size(),
            value.size(), NGHTTP2_NV_FLAG_NONE};
  }
  nghttp2_data_provider bodyOf(int32_t id) {
    nghttp2_data_provider provider{};
    provider.source.fd = id;
    provider.read_callback = [](nghttp2_session* s, int32_t stream_id, uint8_t* out, size_t room, uint32_t* data_flags,
                                nghttp2_data_source*, void* self) -> ssize_t {
      Message& message = static_cast<Oracle*>(self)->messages[stream_id];
      const size_t count = std::min(room, message.body.size() - message.body_sent);
      std::memcpy(out, message.body.data() + message.body_sent, count);
      message.body_sent += count;
      if (message.body_sent == message.body.size()) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        const nghttp2_nv trailer =
            field("x-checksum", std::to_string(message.body.size()).size() > 3 ? "long" : "short");
        nghttp2_submit_trailer(s, stream_id, &trailer, 1);
      }
      return static_cast<ssize_t>(count);
    };
    return provider;
  }
  // No content, and `trailers` behind it.
  nghttp2_data_provider trailersOnly() {
    nghttp2_data_provider provider{};
    provider.read_callback = [](nghttp2_session* s, int32_t id, uint8_t*, size_t, uint32_t* data_flags,
                                nghttp2_data_source*, void* self) -> ssize_t {
      const auto& trailers = static_cast<Oracle*>(self)->trailers;
      *data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
      nghttp2_submit_trailer(s, id, trailers.data(), trailers.size());
      return 0;
    };
    return provider;
  }
  void respond(int32_t id) {
    messages[id].body = messages[id].received + "!";
    const nghttp2_nv head[] = {field(":status", "200"), field("server", "oracle"), field("x-id", "7")};
    const nghttp2_data_provider provider = bodyOf(id);
    nghttp2_submit_response(session, id, head, std::size(head), &provider);
  }
  void request(const std::string& body) {
    const auto id = static_cast<int32_t>(nghttp2_session_get_next_stream_id(session));
    messages[id].body = body;
    const nghttp2_nv head[] = {field(":method", "POST"), field(":scheme", "https"), field(":path", "/a?b"),
                               field(":authority", "example.com"), field("cookie", "a=b")};
    const nghttp2_data_provider provider = bodyOf(id);
    EXPECT_EQ(nghttp2_submit_request(session, nullptr, head, std::size(head), &provider, nullptr), id);
  }
  Wire takeOutput() {
    Wire bytes;
    const uint8_t* data = nullptr;
    for (ssize_t count; (count = nghttp2_session_mem_send(session, &data)) > 0;)
      bytes.insert(bytes.end(), data, data + count);
    return bytes;
  }
  void feed(const Wire& bytes) {
    ASSERT_EQ(nghttp2_session_mem_recv(session, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  nghttp2_session* session = nullptr;
  std::vector<nghttp2_nv> trailers;  // of trailersOnly(); their text is the test's
  bool expects_resets = false;
  bool responds = true;
  std::map<int32_t, Message> messages;
};

// The log's lines about messages.
std::string withoutEvents(const std::string& log) {
  std::string kept;
  for (size_t at = 0; at < log.size();) {
    const size_t end = log.find('\n', at) + 1;
    const std::string_view line = std::string_view(log).substr(at, end - at);
    if (!line.starts_with("event ")) kept += line;
    at = end;
  }
  return kept;
}

// Sends `bodies` on streams of ours as windows allow; returns whether all are out.
bool pump(Session& session, std::vector<std::pair<Stream*, Message>>& bodies) {
  bool done = true;
  for (auto& [stream, message] : bodies) {
    if (stream->hasSentEnd()) continue;
    const Bytes rest = asBytes(message.body).subspan(message.body_sent);
    message.body_sent += session.sendData(*stream, rest, true);
    done = done && stream->hasSentEnd();
  }
  return done;
}

TEST(SessionNgHttp2, ItsServerEchoesWhatOurClientSends) {
  Random random(5);
  for (int round = 0; round < 60; ++round) {
    End client(Role::client);
    Oracle server(Role::server);
    client.session.start();
    server.feed(client.takeOutput());
    ASSERT_TRUE(client.feed(server.takeOutput()));
    std::vector<std::pair<Stream*, Message>> bodies;
    std::map<uint32_t, std::string> answers;
    for (int i = 0; i < 20; ++i) {
      Stream& stream = client.open(false, "POST");
      bodies.emplace_back(&stream, Message{std::string(random.below(9000) + 1, static_cast<char>('a' + i))});
    }
    for (int turn = 0; turn < 5000; ++turn) {
      const bool sent_all = pump(client.session, bodies);
      const Wire out = client.takeOutput();
      server.feed(out);
      const Wire in = server.takeOutput();
      ASSERT_TRUE(client.feed(in, 1 + random.below(3000))) << client.error.reason;
      if (sent_all && out.empty() && in.empty()) break;
    }
    for (auto& [stream, message] : bodies) {
      EXPECT_TRUE(stream->isClosed()) << stream->id;
      EXPECT_FALSE(stream->isReset());
      EXPECT_EQ(server.messages[static_cast<int32_t>(stream->id)].received, message.body);
    }
    EXPECT_NE(client.log.find("server=oracle"), std::string::npos);
    EXPECT_NE(client.log.find("trailers 39 x-checksum="), std::string::npos);
  }
}

TEST(SessionNgHttp2, ItsClientGetsWhatOurServerAnswers) {
  Random random(6);
  for (int round = 0; round < 60; ++round) {
    SessionConfig config;
    config.stream_window = 1000 + random.below(100'000);
    config.connection_window = 65'535 + random.below(100'000);
    End server(Role::server, config);
    Oracle client(Role::client);
    server.session.start();
    for (int i = 0; i < 20; ++i) client.request(std::string(random.below(9000) + 1, static_cast<char>('a' + i)));
    std::vector<std::pair<Stream*, Message>> bodies;
    for (int turn = 0; turn < 5000; ++turn) {
      const Wire in = client.takeOutput();
      ASSERT_TRUE(server.feed(in, 1 + random.below(3000))) << server.error.reason;
      for (size_t i = bodies.size(); i < server.streams.size(); ++i) {
        Stream& stream = *server.streams[i];
        ASSERT_TRUE(server.session.canSendHeaders(100, 3));
        server.session.beginHeaders();
        server.session.addField(http::FieldName::pseudo_status, "200");
        server.session.addField("x-worker", "1", http::FieldName::unknown, Indexing::allow);
        server.session.addField(http::FieldName::set_cookie, "secret", Indexing::never);
        server.session.endHeaders(stream, false);
        bodies.emplace_back(&stream, Message{std::string(random.below(9000), static_cast<char>('A' + i))});
      }
      const bool sent_all = pump(server.session, bodies);
      const Wire out = server.takeOutput();
      client.feed(out);
      if (sent_all && in.empty() && out.empty()) break;
    }
    ASSERT_EQ(bodies.size(), 20u);
    for (auto& [stream, message] : bodies) {
      const Message& seen = client.messages[static_cast<int32_t>(stream->id)];
      EXPECT_TRUE(stream->isClosed()) << stream->id;
      EXPECT_TRUE(seen.head_seen && seen.ended);
      EXPECT_EQ(seen.received, message.body);
    }
    EXPECT_NE(server.log.find("POST https example.com /a?b cookie=a=b"), std::string::npos);
  }
}

// Fields of up to 60,000 bytes, in Huffman's code and as they are, as names and as values, in heads and trailers that
// come in many pieces and CONTINUATIONs. A block that is too much for our limits ends its stream alone; everything that
// comes after is read as it was sent, so the tables are still equal.
struct LongFields {
  explicit LongFields(Random& from) : random(from) {}
  std::string text(size_t size) { return std::string(size, "ax~"[random.below(3)]); }
  size_t size() {
    switch (random.below(6)) {
      case 0:
        return 4000 + random.below(200);
      case 1:
        return random.below(50'000);
      default:
        return 1 + random.below(30);
    }
  }
  // Some fields more, as long as a block of 64 KiB takes them.
  void add() {
    for (uint32_t i = random.below(4); i != 0; --i) {
      fields.emplace_back("x-" + text(random.below(5) == 0 ? size() : 2), text(size()));
      if (fields.back().first.size() + fields.back().second.size() > left) {
        fields.pop_back();
        continue;
      }
      left -= fields.back().first.size() + fields.back().second.size();
    }
  }
  std::vector<nghttp2_nv> list() const {
    std::vector<nghttp2_nv> list;
    for (const auto& [name, value] : fields) list.push_back(Oracle::field(name, value));
    return list;
  }
  size_t listSize() const {
    size_t sum = 0;
    for (const auto& [name, value] : fields) sum += name.size() + value.size() + 32;
    return sum;
  }
  // As End logs them.
  std::string line() const {
    std::string all;
    for (const auto& [name, value] : fields) {
      if (!name.starts_with(':')) all += " " + name + "=" + value;
    }
    return all;
  }
  Random& random;
  std::vector<std::pair<std::string, std::string>> fields;
  size_t left = 60'000;
};

TEST(SessionNgHttp2, LongFieldsAreAMatterOfTheStreamThatHasThem) {
  Random random(431);
  uint32_t refused = 0;
  uint32_t served = 0;
  for (int round = 0; round < 60; ++round) {
    SessionConfig config;
    config.reset_burst = 1000;
    End server(Role::server, config);
    Oracle client(Role::client);
    server.session.start();
    server.answers = random.below(2) == 0;
    std::string expected;
    for (int i = 0; i < 12; ++i) {
      LongFields head(random);
      head.fields = {{":method", "POST"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a"}};
      head.add();
      LongFields trailers(random);
      trailers.add();
      const std::vector<nghttp2_nv> list = head.list();
      const bool has_trailers = !trailers.fields.empty();
      client.trailers = trailers.list();
      nghttp2_data_provider provider = client.trailersOnly();
      const int32_t id = nghttp2_submit_request(client.session, nullptr, list.data(), list.size(),
                                                has_trailers ? &provider : nullptr, nullptr);
      ASSERT_GT(id, 0);
      const bool head_fits = head.listSize() <= config.max_header_list_size;
      const bool trailers_fit = trailers.listSize() <= config.max_header_list_size;
      if (head_fits) {
        expected +=
            "request " + std::to_string(id) + " POST https a /" + head.line() + (has_trailers ? "\n" : " |end\n");
        if (has_trailers) {
          expected += trailers_fit ? "trailers " + std::to_string(id) + trailers.line() + " |end\n"
                                   : "error " + std::to_string(id) + " 11\n";
        }
      }
      (head_fits && trailers_fit ? served : refused) += 1;
      server.log.clear();
      std::string log;
      // Bytes go both ways until the client has none to send.
      while (true) {
        const Wire bytes = client.takeOutput();
        if (bytes.empty()) break;
        ASSERT_TRUE(server.feed(bytes, 1 + random.below(20'000))) << server.error.reason;
        client.expects_resets = true;
        client.feed(server.takeOutput());
      }
      log = withoutEvents(server.log);
      ASSERT_EQ(log, expected) << round;
      expected.clear();
      for (const auto& stream : server.streams) server.session.release(*stream);
    }
  }
  EXPECT_GT(refused, 50u);
  EXPECT_GT(served, 200u);
}

TEST(SessionNgHttp2, LongFieldsOfABackendAreAMatterOfTheStreamThatHasThem) {
  Random random(502);
  uint32_t failed = 0;
  for (int round = 0; round < 60; ++round) {
    const SessionConfig config;
    End client(Role::client, config);
    Oracle server(Role::server);
    server.expects_resets = true;
    server.responds = false;
    client.session.start();
    for (int i = 0; i < 12; ++i) {
      Stream& stream = client.open(true);
      server.feed(client.takeOutput());
      LongFields head(random);
      head.fields = {{":status", "200"}};
      head.add();
      LongFields trailers(random);
      trailers.add();
      const std::vector<nghttp2_nv> list = head.list();
      server.trailers = trailers.list();
      const bool has_trailers = !trailers.fields.empty();
      nghttp2_data_provider provider = server.trailersOnly();
      const std::string id = std::to_string(stream.id);
      ASSERT_EQ(nghttp2_submit_response(server.session, static_cast<int32_t>(stream.id), list.data(), list.size(),
                                        has_trailers ? &provider : nullptr),
                0);
      const bool head_fits = head.listSize() <= config.max_header_list_size;
      const bool trailers_fit = trailers.listSize() <= config.max_header_list_size;
      std::string expected = head_fits ? "response " + id + " 200" + head.line() + (has_trailers ? "\n" : " |end\n")
                                       : "error " + id + " 11\n";
      if (head_fits && has_trailers)
        expected += trailers_fit ? "trailers " + id + trailers.line() + " |end\n" : "error " + id + " 11\n";
      failed += head_fits && trailers_fit ? 0 : 1;
      client.log.clear();
      ASSERT_TRUE(client.feed(server.takeOutput(), 1 + random.below(20'000))) << client.error.reason;
      ASSERT_EQ(withoutEvents(client.log), expected) << round;
      client.session.release(stream);
      server.feed(client.takeOutput());
    }
  }
  EXPECT_GT(failed, 50u);
}

}  // namespace
}  // namespace plait::h2
