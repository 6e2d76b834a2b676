// The engine's work for a message, without sockets and without chance, for counting instructions under callgrind
// (bench/instructions.mjs). Each piece of work writes a dump of its own and a line: its name and how many operations.
#include <valgrind/callgrind.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "bench/engine/header_sets.h"
#include "plait/h2/session.h"

namespace plait::bench {
namespace {

using http::FieldName;

constexpr size_t rounds = 1000;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// The first tenth warms up: tables are filled, blocks were taken.
template <class Work>
void measure(const char* name, Work work) {
  for (size_t i = 0; i < rounds / 10; ++i) work(i);
  CALLGRIND_ZERO_STATS;
  CALLGRIND_TOGGLE_COLLECT;
  for (size_t i = rounds / 10; i < rounds; ++i) work(i);
  CALLGRIND_TOGGLE_COLLECT;
  CALLGRIND_DUMP_STATS_AT(name);
  std::printf("%s %zu\n", name, rounds - rounds / 10);
}

struct Codec {
  ClassedSlab memory{h2::DynamicTable::blocksFor(2)};
  h2::HpackEncoder encoder{memory};
  h2::HpackDecoder decoder{4096, memory};
  std::unique_ptr<h2::HpackScratch> scratch = std::make_unique<h2::HpackScratch>();

  size_t encode(const Message& message, uint8_t* out) {
    uint8_t* end = encoder.begin(out);
    for (const auto& [name, value] : message) {
      const FieldName id = http::fieldNameOf(name);
      const auto indexing = id == FieldName::pseudo_path || id == FieldName::x_request_id ? h2::Indexing::avoid
                            : id == FieldName::authorization                              ? h2::Indexing::never
                            : id == FieldName::etag || id == FieldName::content_length    ? h2::Indexing::repeated
                                                                                          : h2::Indexing::allow;
      end = encoder.field(end, name, value, id, indexing);
    }
    return static_cast<size_t>(end - out);
  }
  size_t decode(Bytes block) {
    h2::HpackDecoder::Cursor cursor(block);
    size_t size = 0;
    h2::DecodedField field;
    while (true) {
      const auto more = decoder.next(cursor, field, *scratch);
      require(more.has_value(), "a block is broken");
      if (!*more) return size;
      size += field.name.size() + field.value.size();
    }
  }
};

void measureHpack(const HeaderSet& set) {
  Codec codec;
  uint8_t out[16384];
  std::vector<std::vector<uint8_t>> blocks;
  measure((std::string("hpack_encode_") + set.name).c_str(),
          [&](size_t i) { blocks.emplace_back(out, out + codec.encode(set.messages[i], out)); });
  measure((std::string("hpack_decode_") + set.name).c_str(),
          [&](size_t i) { require(codec.decode(blocks[i]) != 0, "a block is empty"); });
}

// A client's and a server's session, joined by memory.
struct Pair {
  BlockSlab output_blocks{16 * 1024, 64};
  BlockSlab carry_blocks{64 * 1024, 8};
  std::unique_ptr<h2::SessionScratch> scratch = std::make_unique<h2::SessionScratch>(2, carry_blocks);
  ByteQueue client_output{output_blocks};
  ByteQueue server_output{output_blocks};
  const h2::SessionConfig config;
  h2::Session client{h2::Role::client, client_output, *scratch, config};
  h2::Session server{h2::Role::server, server_output, *scratch, config};

  Pair() {
    client.start();
    server.start();
    const auto ignore = [](h2::Event&) {};
    toServer(ignore);
    toClient(ignore);
    toServer(ignore);
  }
  template <class OnEvent>
  static void carry(ByteQueue& from, h2::Session& to, OnEvent on_event) {
    while (!from.empty()) {
      Bytes input = from.front();
      const size_t size = input.size();
      h2::Event event;
      do {
        require(to.next(input, event, 1).has_value(), "a session failed");
        if (event.kind != h2::Event::Kind::none) on_event(event);
      } while (event.kind != h2::Event::Kind::none);
      from.consume(size);
    }
  }
  template <class OnEvent>
  void toServer(OnEvent on_event) {
    carry(client_output, server, on_event);
    client.outputFlushed();
  }
  template <class OnEvent>
  void toClient(OnEvent on_event) {
    carry(server_output, client, on_event);
    server.outputFlushed();
  }
  static void sendHead(h2::Session& session, h2::Stream& stream, const Message& message, bool end_stream) {
    session.beginHeaders();
    for (const auto& [name, value] : message)
      session.addField(name, value, http::fieldNameOf(name), h2::Indexing::allow);
    session.endHeaders(stream, end_stream);
  }
};

// A request without a body and its response of 100 bytes, from one session to the other and back.
void measureExchange(const HeaderSet& requests, const HeaderSet& responses) {
  Pair pair;
  const std::array<uint8_t, 100> body{};
  measure("session_exchange", [&](size_t i) {
    h2::Stream at_client;
    h2::Stream at_server;
    Pair::sendHead(pair.client, at_client, requests.messages[i], true);
    pair.toServer([&](h2::Event& event) {
      require(event.kind == h2::Event::Kind::request, "no request came");
      pair.server.accept(at_server);
    });
    Message head = responses.messages[i];
    Pair::sendHead(pair.server, at_server, head, false);
    require(pair.server.sendData(at_server, body, true) == body.size(), "the body was not taken");
    size_t got = 0;
    pair.toClient([&](h2::Event& event) {
      got += event.data.size();
      if (!event.data.empty()) pair.client.credit(event.stream, event.data.size());
    });
    require(got == body.size(), "the body did not come");
    pair.client.release(at_client);
    pair.server.release(at_server);
    pair.toServer([](h2::Event&) {});
  });
}

// DATA frames of 100 bytes on one stream, framed, taken apart, and credited.
void measureData(const HeaderSet& requests) {
  Pair pair;
  h2::Stream at_client;
  h2::Stream at_server;
  Message head = requests.messages[0];
  Pair::sendHead(pair.client, at_client, head, false);
  pair.toServer([&](h2::Event&) { pair.server.accept(at_server); });
  const std::array<uint8_t, 100> body{};
  measure("session_data_frame", [&](size_t) {
    require(pair.client.sendData(at_client, body, false) == body.size(), "no window");
    pair.toServer([&](h2::Event& event) { pair.server.credit(event.stream, event.data.size()); });
    pair.toClient([](h2::Event&) {});
  });
  pair.client.release(at_client);
  pair.server.release(at_server);
}

}  // namespace
}  // namespace plait::bench

int main() {
  using namespace plait::bench;
  const auto sets = headerSets(rounds);
  for (const HeaderSet& set : sets) measureHpack(set);
  measureExchange(sets[2], sets[4]);
  measureData(sets[2]);
}
