// HPACK against libnghttp2's deflater and inflater, message after message of one connection. Before anything is timed
// every block is decoded by both and compared with what was encoded, byte for byte.
//
// plait's decoder also finds out whether each field is well-formed, and looks each name's number up, with which the
// proxy then encodes it. So encoding is timed both ways: with the numbers known, and, as libnghttp2 has to, from texts
// alone.
#include <benchmark/benchmark.h>
#include <nghttp2/nghttp2.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "bench/engine/header_sets.h"
#include "plait/h2/hpack_decoder.h"
#include "plait/h2/hpack_encoder.h"

namespace plait::bench {
namespace {

using h2::Indexing;
using http::FieldName;
using Block = std::vector<uint8_t>;

constexpr size_t message_count = 1000;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// As libnghttp2 decides, so that both write the same kind of blocks.
Indexing indexingOf(FieldName id) {
  constexpr http::FieldNameSet literals = {
      FieldName::pseudo_path,   FieldName::age,      FieldName::content_length, FieldName::etag,
      FieldName::if_none_match, FieldName::location, FieldName::set_cookie,     FieldName::if_modified_since};
  if (id == FieldName::authorization) return Indexing::never;
  return literals.contains(id) ? Indexing::avoid : Indexing::allow;
}

std::vector<nghttp2_nv> asNv(const Message& message) {
  std::vector<nghttp2_nv> fields;
  for (const auto& [name, value] : message) {
    const bool is_secret = name == "authorization";
    fields.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                      reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                      static_cast<uint8_t>(is_secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
  }
  return fields;
}

struct Deflater {
  Deflater() { require(nghttp2_hd_deflate_new(&handle, 4096) == 0, "no deflater"); }
  ~Deflater() { nghttp2_hd_deflate_del(handle); }
  size_t encode(const std::vector<nghttp2_nv>& fields, uint8_t* out, size_t size) {
    const auto written = nghttp2_hd_deflate_hd(handle, out, size, fields.data(), fields.size());
    require(written > 0, "the deflater failed");
    return static_cast<size_t>(written);
  }
  nghttp2_hd_deflater* handle = nullptr;
};

struct Inflater {
  Inflater() { require(nghttp2_hd_inflate_new(&handle) == 0, "no inflater"); }
  ~Inflater() { nghttp2_hd_inflate_del(handle); }
  template <class Use>
  void decode(const Block& block, Use use) {
    const uint8_t* in = block.data();
    size_t left = block.size();
    while (true) {
      nghttp2_nv field;
      int flags = 0;
      const auto used = nghttp2_hd_inflate_hd2(handle, &field, &flags, in, left, 1);
      require(used >= 0, "the inflater failed");
      in += used;
      left -= static_cast<size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        use(std::string_view(reinterpret_cast<char*>(field.name), field.namelen),
            std::string_view(reinterpret_cast<char*>(field.value), field.valuelen));
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(handle);
  }
  nghttp2_hd_inflater* handle = nullptr;
};

struct Decoder {
  template <class Use>
  void decode(const Block& block, h2::HpackScratch& scratch, Use use) {
    h2::HpackDecoder::Cursor cursor(block);
    h2::DecodedField field;
    while (true) {
      const auto more = decoder.next(cursor, field, scratch);
      require(more.has_value(), "the decoder failed");
      if (!*more) return;
      use(field.name, field.value);
    }
  }
  ClassedSlab memory{h2::DynamicTable::blocksFor(1)};
  h2::HpackDecoder decoder{4096, memory};
};

struct Encoder {
  size_t encode(const Message& message, uint8_t* out) {
    uint8_t* end = encoder.begin(out);
    for (const auto& [name, value] : message) end = encode(end, name, value, http::fieldNameOf(name));
    return static_cast<size_t>(end - out);
  }
  size_t encode(const Message& message, const std::vector<FieldName>& ids, uint8_t* out) {
    uint8_t* end = encoder.begin(out);
    for (size_t i = 0; i < ids.size(); ++i) end = encode(end, message[i].first, message[i].second, ids[i]);
    return static_cast<size_t>(end - out);
  }
  uint8_t* encode(uint8_t* out, std::string_view name, std::string_view value, FieldName id) {
    return name.front() == ':' ? pseudo(out, id, value) : encoder.field(out, name, value, id, indexingOf(id));
  }
  // As h2::Session encodes them.
  uint8_t* pseudo(uint8_t* out, FieldName id, std::string_view value) {
    switch (id) {
      case FieldName::pseudo_method:
        return encoder.pseudoField(out, FieldName::pseudo_method, value, Indexing::allow);
      case FieldName::pseudo_scheme:
        return encoder.pseudoField(out, FieldName::pseudo_scheme, value, Indexing::allow);
      case FieldName::pseudo_path:
        return encoder.pseudoField(out, FieldName::pseudo_path, value, Indexing::avoid);
      case FieldName::pseudo_status:
        return encoder.pseudoField(out, FieldName::pseudo_status, value, Indexing::allow);
      default:
        return encoder.pseudoField(out, FieldName::pseudo_authority, value, Indexing::allow);
    }
  }
  ClassedSlab memory{h2::DynamicTable::blocksFor(1)};
  h2::HpackEncoder encoder{memory};
};

// A set with its blocks as libnghttp2 makes them, which both decoders read.
struct Prepared {
  explicit Prepared(const HeaderSet& made) : set(made) {
    Deflater deflater;
    Encoder encoder;
    Decoder ours;
    Decoder ours_again;
    Inflater theirs;
    Inflater theirs_again;
    uint8_t out[16384];
    size_t our_bytes = 0;
    size_t their_bytes = 0;
    for (const Message& message : set.messages) {
      nv.push_back(asNv(message));
      for (auto& known = ids.emplace_back(); const auto& [name, value] : message)
        known.push_back(http::fieldNameOf(name));
      blocks.emplace_back(out, out + deflater.encode(nv.back(), out, sizeof(out)));
      const Block own(out, out + encoder.encode(message, out));
      our_bytes += own.size();
      their_bytes += blocks.back().size();
      const auto expect = [&](auto decode) {
        Message decoded;
        decode([&](std::string_view name, std::string_view value) { decoded.emplace_back(name, value); });
        require(decoded == message, "a decoder did not give back what was encoded");
      };
      expect([&](auto use) { ours.decode(blocks.back(), *scratch, use); });
      expect([&](auto use) { theirs.decode(blocks.back(), use); });
      expect([&](auto use) { ours_again.decode(own, *scratch, use); });
      expect([&](auto use) { theirs_again.decode(own, use); });
    }
    std::printf("%-16s %zu bytes a block by plait, %zu by libnghttp2\n", set.name, our_bytes / set.messages.size(),
                their_bytes / set.messages.size());
  }
  const HeaderSet& set;
  std::vector<std::vector<nghttp2_nv>> nv;
  std::vector<std::vector<FieldName>> ids;  // of the names
  std::vector<Block> blocks;
  std::unique_ptr<h2::HpackScratch> scratch = std::make_unique<h2::HpackScratch>();
};

void keep(std::string_view name, std::string_view value) {
  benchmark::DoNotOptimize(name.data());
  benchmark::DoNotOptimize(value.data());
}

void addBenchmarks(Prepared& prepared) {
  const std::string name = prepared.set.name;
  benchmark::RegisterBenchmark(("decode/" + name + "/plait").c_str(), [&prepared](benchmark::State& state) {
    std::unique_ptr<Decoder> decoder;
    for (size_t i = 0; auto unused : state) {
      (void)unused;
      if (i == 0) decoder = std::make_unique<Decoder>();
      decoder->decode(prepared.blocks[i], *prepared.scratch, keep);
      i = i + 1 == message_count ? 0 : i + 1;
    }
  });
  benchmark::RegisterBenchmark(("decode/" + name + "/nghttp2").c_str(), [&prepared](benchmark::State& state) {
    std::unique_ptr<Inflater> inflater;
    for (size_t i = 0; auto unused : state) {
      (void)unused;
      if (i == 0) inflater = std::make_unique<Inflater>();
      inflater->decode(prepared.blocks[i], keep);
      i = i + 1 == message_count ? 0 : i + 1;
    }
  });
  benchmark::RegisterBenchmark(("encode/" + name + "/plait_texts").c_str(), [&prepared](benchmark::State& state) {
    Encoder encoder;
    uint8_t out[16384];
    for (size_t i = 0; auto unused : state) {
      (void)unused;
      benchmark::DoNotOptimize(encoder.encode(prepared.set.messages[i], out));
      i = i + 1 == message_count ? 0 : i + 1;
    }
  });
  benchmark::RegisterBenchmark(("encode/" + name + "/plait").c_str(), [&prepared](benchmark::State& state) {
    Encoder encoder;
    uint8_t out[16384];
    for (size_t i = 0; auto unused : state) {
      (void)unused;
      benchmark::DoNotOptimize(encoder.encode(prepared.set.messages[i], prepared.ids[i], out));
      i = i + 1 == message_count ? 0 : i + 1;
    }
  });
  benchmark::RegisterBenchmark(("encode/" + name + "/nghttp2").c_str(), [&prepared](benchmark::State& state) {
    Deflater deflater;
    uint8_t out[16384];
    for (size_t i = 0; auto unused : state) {
      (void)unused;
      benchmark::DoNotOptimize(deflater.encode(prepared.nv[i], out, sizeof(out)));
      i = i + 1 == message_count ? 0 : i + 1;
    }
  });
}

}  // namespace
}  // namespace plait::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const auto sets = plait::bench::headerSets(plait::bench::message_count);
  std::vector<std::unique_ptr<plait::bench::Prepared>> prepared;
  for (const auto& set : sets) {
    prepared.push_back(std::make_unique<plait::bench::Prepared>(set));
    plait::bench::addBenchmarks(*prepared.back());
  }
  benchmark::RunSpecifiedBenchmarks();
}
