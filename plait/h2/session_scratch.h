// The configuration of a session, and the memory that the sessions of one owner use and borrow.
#pragma once

#include "plait/base/byte_queue.h"
#include "plait/base/classed_slab.h"
#include "plait/base/slab.h"
#include "plait/h2/frame.h"
#include "plait/h2/hpack_decoder.h"
#include "plait/http/message.h"

namespace plait::h2 {

struct SessionConfig {
  uint32_t max_concurrent_streams = 128;
  uint32_t stream_window = default_window;      // what we announce for each stream
  uint32_t connection_window = default_window;  // what we grant for all of them, at least 65,535
  uint32_t max_header_list_size = 32 * 1024;    // RFC 9113 §6.5.2's measure
  uint32_t max_fields = 100;
  uint32_t max_target_size = 8 * 1024;  // of :path
  uint32_t max_cookie_crumbs = 256;  // beside the fields; browsers keep up to 180 cookies of a site and send each alone
  uint32_t max_continuations = 8;
  uint32_t max_settings_entries = 32;  // in one SETTINGS frame; each may have to visit every stream
  uint32_t max_queued_control_frames = 64;
  // Tokens for streams that end by a reset of either side, or are refused because there are too many. A stream that
  // ends well gives one back, so a client that cancels no more than every second request is never limited.
  // ENHANCE_YOUR_CALM when they are used up.
  uint32_t reset_burst = 1000;
  uint32_t resets_per_second = 100;
  // Tokens for frames that are allowed and carry nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown
  // ones. Every header block, and every DATA frame either way, gives some back, since such frames go with it.
  uint32_t idle_frame_burst = 10'000;
  uint32_t idle_frames_per_second = 1000;
  uint32_t max_interim_responses = 64;   // to one request
  size_t send_queue_limit = 128 * 1024;  // DATA waits while more than this is queued
  bool enable_connect_protocol = false;  // server: announces and admits :protocol (RFC 8441)
};

// Shared by the sessions of one owner: memory that is used only within one call, and memory that they are lent.
struct SessionScratch {
  // So many sessions may exist at once. `carry` (64 KiB each) hold a frame that did not arrive whole; they must outlive
  // this.
  SessionScratch(size_t sessions, BlockSlab& carry);
  // The bytes of lent memory that are reserved for as many sessions.
  static size_t lentBytesFor(size_t sessions);
  size_t lentBytes() const;
  void prefault();

  BlockSlab& carry_blocks;
  // Whose bytes DATA may be sent from without being copied; null for none. Must outlive the sessions.
  ByteLender* lender = nullptr;

  static constexpr size_t header_memory = 64 * 1024;
  static constexpr size_t encode_memory = 128 * 1024;
  // An idle session has none of these but its tables; for each there is one of each.
  ClassedSlab tables;
  BlockSlab buckets;        // of a session with more than a few streams
  BlockSlab resets;         // the streams that it reset
  BlockSlab small_carries;  // a small frame that did not arrive whole

  // Of the header block that is being encoded, by whichever session.
  uint8_t* encode_position = nullptr;
  bool encodes_head_method = false;     // it is a request, and its method is HEAD
  bool encodes_connect_method = false;  // … or CONNECT

  // Of the request that some session's next() has just reported, until it is accepted.
  uint64_t pending_content_length = http::unknown_length;
  bool pending_request_is_too_large = false;
  bool pending_request_ended = false;

  HpackScratch hpack;
  alignas(8) uint8_t fields[header_memory];
  // Names that have a number count as long as they may be where the bound is looked at.
  alignas(8) uint8_t encoded[encode_memory + http::longest_field_name];
};

}  // namespace plait::h2
