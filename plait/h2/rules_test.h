// One end of a session whose other end is the test, past the opening: for what the rules of RFC 9113 make of single
// frames.
#pragma once

#include <gtest/gtest.h>

#include "plait/h2/wire_test.h"

namespace plait::h2::rules {

using namespace wire;

constexpr uint8_t end_headers = flags::end_headers;
constexpr uint8_t end_both = flags::end_headers | flags::end_stream;
inline const Wire get_block = {0x82, 0x86, 0x84, 0x01, 0x01, 'a'};
inline const Wire post_block = {0x83, 0x86, 0x84, 0x01, 0x01, 'a'};
inline const Wire ok_block = {0x88};

inline Wire opening(Role role) {
  return (role == Role::server ? text(client_preface) : Wire()) + frame(FrameType::settings, 0, 0);
}

struct Peer : End {
  explicit Peer(Role role, const SessionConfig& config = {}) : End(role, config) {
    session.start();
    EXPECT_TRUE(feed(opening(role)));
    takeOutput();
    log.clear();
  }
  // The code of the last frame of that type sent since, no_error when there was none.
  H2Error sentCode(FrameType type) {
    H2Error code = H2Error::no_error;
    for (const Sent& one : sent()) {
      if (one.header.type == type)
        code = static_cast<H2Error>(loadBe32(one.payload.data() + (type == FrameType::goaway ? 4 : 0)));
    }
    return code;
  }
  bool request(uint32_t id, const Wire& block = get_block, uint8_t frame_flags = end_both) {
    return feed(frame(FrameType::headers, frame_flags, id, block));
  }
};

}  // namespace plait::h2::rules
