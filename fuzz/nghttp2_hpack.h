// libnghttp2's HPACK behind two calls, as the other opinion on a header block.
#pragma once

#include <nghttp2/nghttp2.h>

#include "fuzz/target.h"

namespace plait::fuzz {

struct OracleField {
  std::string name;
  std::string value;
  bool never_indexed = false;
  bool operator==(const OracleField&) const = default;
};

class OracleDecoder {
 public:
  OracleDecoder() { require(nghttp2_hd_inflate_new(&inflater_) == 0); }
  ~OracleDecoder() { nghttp2_hd_inflate_del(inflater_); }
  OracleDecoder(const OracleDecoder&) = delete;
  OracleDecoder& operator=(const OracleDecoder&) = delete;

  void changeTableSize(uint32_t size) { require(nghttp2_hd_inflate_change_table_size(inflater_, size) == 0); }
  // False when the block is broken; what came before the fault is in `fields`.
  bool decode(Bytes block, std::vector<OracleField>& fields) {
    const std::vector<uint8_t> input = exact(block);
    size_t at = 0;
    while (true) {
      nghttp2_nv field{};
      int state = 0;
      const ssize_t taken = nghttp2_hd_inflate_hd2(inflater_, &field, &state, input.data() + at, input.size() - at, 1);
      if (taken < 0) return false;
      at += static_cast<size_t>(taken);
      if ((state & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        fields.push_back({std::string(reinterpret_cast<const char*>(field.name), field.namelen),
                          std::string(reinterpret_cast<const char*>(field.value), field.valuelen),
                          (field.flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0});
      }
      if ((state & NGHTTP2_HD_INFLATE_FINAL) != 0) {
        nghttp2_hd_inflate_end_headers(inflater_);
        return true;
      }
      if (taken == 0 && (state & NGHTTP2_HD_INFLATE_EMIT) == 0) return false;
    }
  }
  size_t tableSize() const { return nghttp2_hd_inflate_get_dynamic_table_size(inflater_); }
  size_t tableCount() const { return nghttp2_hd_inflate_get_num_table_entries(inflater_) - 61; }

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
};

class OracleEncoder {
 public:
  OracleEncoder() { require(nghttp2_hd_deflate_new(&deflater_, 4096) == 0); }
  ~OracleEncoder() { nghttp2_hd_deflate_del(deflater_); }
  OracleEncoder(const OracleEncoder&) = delete;
  OracleEncoder& operator=(const OracleEncoder&) = delete;

  void changeTableSize(uint32_t size) { require(nghttp2_hd_deflate_change_table_size(deflater_, size) == 0); }
  std::vector<uint8_t> encode(const std::vector<OracleField>& fields) {
    std::vector<nghttp2_nv> list;
    for (const OracleField& field : fields) {
      list.push_back({const_cast<uint8_t*>(asBytes(field.name).data()),
                      const_cast<uint8_t*>(asBytes(field.value).data()), field.name.size(), field.value.size(),
                      static_cast<uint8_t>(field.never_indexed ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE)});
    }
    std::vector<uint8_t> block(nghttp2_hd_deflate_bound(deflater_, list.data(), list.size()));
    const ssize_t size = nghttp2_hd_deflate_hd(deflater_, block.data(), block.size(), list.data(), list.size());
    require(size >= 0);
    block.resize(static_cast<size_t>(size));
    return block;
  }

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

}  // namespace plait::fuzz
