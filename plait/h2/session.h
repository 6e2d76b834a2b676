// One HTTP/2 connection without its socket: bytes in → events, commands in → bytes out (RFC 9113). Both roles are this
// one engine. It owns no stream: slots belong to whoever uses the session and are linked here by their id, so a session
// never allocates and never waits.
//
//   idle ─ HEADERS ─▶ open ─ END_STREAM one way ─▶ half closed ─ END_STREAM the other way ─▶ closed
//                       └──────────────── RST_STREAM, either way ──────────────────────────────▲
//
// A connection error is returned by next() once; GOAWAY is then queued, and the owner flushes and closes. A stream
// error is dealt with here (RST_STREAM is queued) and told by an event if the owner knows the stream.
#pragma once

#include <algorithm>

#include "plait/base/byte_queue.h"
#include "plait/base/error.h"
#include "plait/base/list.h"
#include "plait/h2/flow_window.h"
#include "plait/h2/frame.h"
#include "plait/h2/hpack_decoder.h"
#include "plait/h2/hpack_encoder.h"
#include "plait/http/message.h"

namespace plait::h2 {

class HeadBuilder;

enum class Role : uint8_t { client, server };

struct SessionConfig {
  uint32_t max_concurrent_streams = 128;
  uint32_t stream_window = default_window;      // what we announce for each stream
  uint32_t connection_window = default_window;  // what we grant for all of them, at least 65,535
  uint32_t max_header_list_size = 32 * 1024;    // RFC 9113 §6.5.2's measure
  uint32_t max_fields = 100;
  uint32_t max_cookie_crumbs = 256;  // beside the fields; browsers keep up to 180 cookies of a site and send each alone
  uint32_t max_continuations = 8;
  uint32_t max_settings_entries = 32;  // in one SETTINGS frame; each may have to visit every stream
  uint32_t max_queued_control_frames = 64;
  // Tokens for streams that end by a reset of either side, or are refused because there are too many. A stream that
  // ends well gives one back, so whoever cancels no more than every second request is never limited.
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

// What the sessions of one owner share: their configuration, memory that is used only within one call, and what they
// are lent.
struct SessionScratch {
  // So many sessions may exist at once. `carry` (64 KiB each) hold a frame that did not arrive whole; they must outlive
  // this.
  SessionScratch(size_t sessions, const SessionConfig& shared_config, BlockSlab& carry);
  // What is reserved for as many sessions.
  static size_t lentBytesFor(size_t sessions);
  size_t lentBytes() const;
  void prefault();

  const SessionConfig config;
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
  bool pending_request_ended = false;
  bool pending_request_is_tunnel = false;

  HpackScratch hpack;
  alignas(8) uint8_t fields[header_memory];
  // Names that have a number count as long as they may be where the bound is looked at.
  alignas(8) uint8_t encoded[encode_memory + http::longest_field_name];
};

// A stream's engine side; owners derive their slots from it.
struct Stream {
  uint32_t id = 0;               // 0 until its HEADERS are queued or accepted
  bool local_ended = false;      // we have sent END_STREAM
  bool remote_ended = false;     // the peer has
  bool is_reset = false;         // RST_STREAM went or came
  bool reset_by_peer = false;    // it came: the peer may send nothing more, while what crosses ours is ignored
  bool head_received = false;    // the request head, or the final response head
  bool expects_no_body = false;  // client: the response to HEAD has none, whatever its Content-Length says
  uint8_t interim_count = 0;     // client: 1xx heads so far
  bool is_tunnel = false;        // CONNECT: what follows a 2xx head is no content, and has no length (RFC 9110 §9.3.6)
  FlowWindow send_window;
  FlowWindow receive_window;
  uint32_t receive_window_size = 0;              // what receive_window is refilled to
  uint32_t credit = 0;                           // bytes the owner is done with and the peer has not been told about
  uint64_t content_left = http::unknown_length;  // of the announced Content-Length
  Stream* hash_next = nullptr;
  ListNode node;
  // Memory of the owner's that it will use when the next message on this stream is there.
  Bytes wanted[2];

  bool isClosed() const { return is_reset || (local_ended && remote_ended); }
};

struct Event {
  enum class Kind : uint8_t {
    none,          // the input is used up
    request,       // server: a new stream; accept() or refuse() it before the next call
    rejected,      // server: a request that was malformed, too large or one too many; `request` is what could be read
    response,      // client: the final response head
    interim,       // client: a 1xx head
    trailers,      // always ends the stream; `fields`
    data,          // `data`, a part of a DATA frame; may be empty with end_stream
    stream_error,  // the stream is over: the peer reset it (`by_peer`), or it was malformed and we did; `stream` is
                   // null where it had been over before
    window,        // more may be sent: on `stream`, or on all when it is null
    settings,      // the peer's settings changed; windows may have opened on every stream
    goaway,        // streams above `last_stream_id` were not processed; it never rises from one to the next
    ping_ack,
  };
  Kind kind = Kind::none;
  Stream* stream = nullptr;
  uint32_t stream_id = 0;
  bool end_stream = false;
  bool by_peer = false;
  http::RequestHead request;
  http::ResponseHead response;
  http::FieldList fields;
  Bytes data;
  H2Error error_code = H2Error::no_error;
  uint32_t last_stream_id = 0;
  uint64_t opaque = 0;  // ping_ack: what sendPing() was given
  const char* reason = "";
  Fault fault = Fault::none;  // stream_error, rejected: what the peer did
};

// So many received bytes count as one in Limits::work_per_turn.
inline constexpr size_t bytes_for_work = 2048;

class Session {
 public:
  // `output` receives what is to be sent. `scratch` is shared with other sessions of the same thread and outlives them.
  Session(Role role, ByteQueue& output, SessionScratch& scratch);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Queues our preface, SETTINGS, and the surplus of the connection window.
  void start();

  // Takes bytes off `input` until something happened that the owner must know; Kind::none when all are taken. Views in
  // the event are valid until the next call. `now_s` drives the token bucket of resets.
  Status next(Bytes& input, Event& event, uint32_t now_s);

  // -- server
  // Binds `stream` to the request that next() has just reported.
  void accept(Stream& stream);
  void refuse(uint32_t stream_id, H2Error code);

  // -- client
  bool canOpenStream() const { return next_stream_id_ <= max_stream_id && !goaway_received_; }

  // -- header blocks: begin, fields in order (pseudo-header fields first), then end. Between begin and end no other
  // call. The whole is one HEADERS frame and as many CONTINUATIONs as it takes; nothing is queued when it has no room.
  void beginHeaders();
  void addField(std::string_view name, std::string_view value, http::FieldName id, Indexing indexing) {
    const size_t name_size = id == http::FieldName::unknown ? name.size() : http::longest_field_name;
    PLAIT_ASSERT(scratch_.encode_position + HpackEncoder::bound(name_size, value.size()) <=
                 scratch_.encoded + sizeof(scratch_.encoded));
    scratch_.encode_position = encoder_.field(scratch_.encode_position, name, value, id, indexing);
  }
  // A pseudo-header field: the method has to be known to tell how the response ends.
  void addField(http::FieldName id, std::string_view value, Indexing indexing = Indexing::allow) {
    PLAIT_ASSERT(scratch_.encode_position + HpackEncoder::bound(http::longest_field_name, value.size()) <=
                 scratch_.encoded + sizeof(scratch_.encoded));
    scratch_.encode_position = encoder_.pseudoField(scratch_.encode_position, id, value, indexing);
    if (id == http::FieldName::pseudo_method) {
      scratch_.encodes_head_method = value == "HEAD";
      scratch_.encodes_connect_method = value == "CONNECT";
    }
  }
  // True when `fields_bytes` of names and values in `count` fields can be encoded and queued now. HPACK's state cannot
  // be taken back, so this is asked before beginHeaders().
  bool canSendHeaders(size_t fields_bytes, size_t count) const;
  // Client: opens `stream`, giving it the next id. Server: a head or trailers on an accepted stream.
  void endHeaders(Stream& stream, bool end_stream);

  // DATA is not sent from where it lies (SessionScratch::lender): it would be copied all the same, as by TLS.
  void copyData() { copies_data_ = true; }
  // Queues as much of `data` as windows and the queue permit and returns how much; END_STREAM goes with the last byte.
  // With no data at all `stream.local_ended` tells whether the end was queued, as sendEnd() would.
  size_t sendData(Stream& stream, Bytes data, bool end_stream);
  // True when an empty DATA frame with END_STREAM has been queued.
  bool sendEnd(Stream& stream);
  // What sendData would take now.
  size_t sendable(const Stream& stream) const;
  void sendReset(Stream& stream, H2Error code);
  void sendPing(uint64_t opaque);
  // Of several, the lowest id counts.
  void sendGoaway(uint32_t last_stream_id, H2Error code, std::string_view debug = {});
  // The owner is done with `count` bytes that came on `stream` (null: on a stream that is gone).
  void credit(Stream* stream, size_t count);
  // Only the stream's part of it, where the connection's has been given back on receipt.
  void creditStream(Stream& stream, size_t count);
  // Raises what the peer may have under way to `size` bytes, at most 2^31-1, for one stream or for all together; a
  // smaller value than the present one changes nothing. The caller has the memory.
  void growStreamWindow(Stream& stream, uint32_t size);
  void growConnectionWindow(uint32_t size);
  // The slot leaves the session; it may be reused at once. What still comes for its id is dropped and credited.
  void release(Stream& stream);

  const Settings& peerSettings() const { return peer_; }
  bool peerSettingsReceived() const { return settings_received_; }
  // The peer has acknowledged our SETTINGS. Until then a server's streams may hold 65,535 bytes even where less was
  // announced, since the client could not know (RFC 9113 §6.9.2).
  bool settingsAcknowledged() const { return settings_acknowledged_; }
  // Bytes of DATA that may be sent on all streams together; negative never, for no setting changes it.
  int64_t sendWindow() const { return send_window_.size(); }
  int64_t receiveWindow() const { return receive_window_.size(); }
  // What the peer has sent and has no credit for yet, nor will get when enough has come together: what somebody still
  // holds. With no stream under way that is nothing.
  int64_t outstandingCredit() const {
    return int64_t{std::max(connection_window_, default_window)} - receive_window_.size() - connection_credit_;
  }
  uint32_t lastPeerStreamId() const { return last_peer_stream_id_; }
  bool goawayReceived() const { return goaway_received_; }
  uint32_t streamCount() const { return stream_count_; }
  // Little is left of what the guards tolerate: the time to ask for another connection, before this one is cut off.
  bool isNearItsLimits() const {
    return reset_tokens_ < scratch_.config.reset_burst / 4 || frame_tokens_ < scratch_.config.idle_frame_burst / 4;
  }
  // How much of what the peer still sends is worth reading when this is over, so that the end does not become a reset
  // that overtakes our last words: of a peer that has broken the rules only what a first look at GOAWAY may cross.
  uint32_t unreadLimit() const { return failed_ ? 64 * 1024 : UINT32_MAX; }
  // What was done since the last call, in the units of Limits::work_per_turn.
  uint32_t takeWork() { return std::exchange(work_, 0); }
  // The peer has a habit of resetting what it has just begun.
  bool hasManyResets() const { return reset_tokens_ < scratch_.config.reset_burst / 4 * 3; }
  // Too many replies wait to be sent: stop reading until the output has left.
  bool isControlBacklogged() const { return queued_control_ >= scratch_.config.max_queued_control_frames; }
  void outputFlushed() { queued_control_ = 0; }
  // No DATA can be queued on any stream until output has left.
  bool isQueueFull() const {
    return output_.size() >= scratch_.config.send_queue_limit || output_.bulkRoom() <= frame_header_size;
  }
  // A header block has begun and is not complete: no frame of another stream may come in between (RFC 9113 §6.2).
  bool isReceivingHeaders() const {
    return awaiting_continuation_ || (phase_ == Phase::payload && frame_.type == FrameType::headers);
  }
  Stream* find(uint32_t id) const;
  using StreamList = List<Stream, &Stream::node>;
  StreamList& streams() { return streams_; }
  // Server: whether a request was refused because of GOAWAY; new streams are refused from now on above this id.
  void refuseAbove(uint32_t stream_id) { refuse_above_ = stream_id; }

 private:
  enum class Phase : uint8_t { preface, header, payload, data_padding, data, skip };

  Status fail(H2Error code, const char* reason, Fault fault = Fault::none);
  Status onFrameHeader();
  void expectNextFrame(Bytes input) const;
  Status takePayload(Bytes& input, Event& event);
  Status onPayload(Bytes payload, Event& event);
  Status onSettings(Bytes payload, Event& event);
  Status onHeaders(Bytes payload, Event& event);
  Status onContinuation(Bytes payload, Event& event);
  Status onHeaderBlock(Bytes block, Event& event);
  bool comesToExcess(const HeadBuilder& head) const;
  Status onWindowUpdate(Bytes payload, Event& event);
  Status onReset(Bytes payload, Event& event);
  Status onGoaway(Bytes payload, Event& event);
  Status onDataHeader(Event& event);
  Status onCrossingData();
  Status onDataPadding(Bytes& input, Event& event);
  Status onData(Bytes& input, Event& event);
  Status streamFailed(Stream* stream, uint32_t id, H2Error code, const char* reason, Event& event);
  void onRequest(const HeadBuilder& head, Event& event);
  void measureResponse(Stream& stream, HeadBuilder& head, uint16_t status);
  Status spendReset(Fault fault = Fault::reset_flood);
  // A header block may name an entry of the table with each of its bytes, and all must be decoded (RFC 9113 §4.3): one
  // that was too large counts by what it came to.
  void chargeForFields(size_t list_size);
  Status spendFrame();
  Status payFrames(uint32_t price);
  void earnFrames(uint32_t count);
  void reject(uint32_t id, H2Error code, Fault fault, const char* reason, Event& event);
  Status onSettingsAcknowledged();

  void appendFrame(FrameType type, uint8_t frame_flags, uint32_t stream_id, Bytes payload, bool is_control);
  size_t headLimit() const;
  bool isAtLimit();
  // `stream` is null where none was made, or it is gone.
  void sendResetById(uint32_t id, H2Error code, const Stream* stream);
  void sendWindowUpdate(uint32_t stream_id, uint32_t increment);
  void link(Stream& stream, uint32_t id);
  bool isIdle(uint32_t id) const;
  void rememberReset(uint32_t id);
  bool mayHaveBeenReset(uint32_t id) const;
  bool isClosedForClient(const Stream* stream) const;
  void refillTokens(uint32_t now_s);
  bool takeCarry(size_t needed);
  void giveCarry();

  friend struct SessionScratch;
  static constexpr uint32_t few_buckets = 2;
  static constexpr uint32_t few_streams = 8;  // for more than these a session takes buckets from the scratch
  static constexpr uint32_t many_buckets = 64;
  uint32_t bucketOf(uint32_t id) const { return (id >> 1) & (bucket_count_ - 1); }
  void takeBuckets();
  void giveBuckets();
  // How many frames that carry nothing go with one that carries something.
  static constexpr uint32_t frames_for_headers = 8;
  static constexpr uint32_t frames_for_data = 4;
  // A header block that comes to so many times what is allowed ends the connection.
  static constexpr uint32_t excess = 8;
  static constexpr uint32_t work_for_frame = 4;
  static constexpr uint32_t work_for_request = 16;

  static constexpr size_t small_carry_size = 128;
  static constexpr uint32_t remembered_resets = 64;

  const Role role_;
  Phase phase_;
  // The frame that is being read.
  uint8_t header_filled_ = 0;
  uint8_t header_[frame_header_size];
  FrameHeader frame_{};
  uint32_t frame_left_ = 0;  // payload bytes not taken yet
  uint32_t padding_left_ = 0;
  Stream* data_stream_ = nullptr;
  ByteQueue& output_;
  SessionScratch& scratch_;
  HpackDecoder decoder_;
  HpackEncoder encoder_;

  FlowWindow send_window_;
  FlowWindow receive_window_;
  uint32_t connection_window_;  // what receive_window_ is refilled to
  uint32_t connection_credit_ = 0;

  Stream** buckets_ = few_;
  Stream* few_[few_buckets] = {};
  StreamList streams_;
  uint8_t bucket_count_ = few_buckets;
  uint8_t recent_reset_next_ = 0;
  uint16_t queued_control_ = 0;
  uint32_t stream_count_ = 0;
  uint32_t next_stream_id_;
  uint32_t last_peer_stream_id_ = 0;
  // Streams that the client skipped last: they are closed without ever having been opened.
  struct {
    uint32_t after = 0;
    uint32_t before = 0;
  } last_gap_;
  uint32_t refuse_above_ = max_stream_id;

  // A request that next() has reported, and that is neither accepted nor refused.
  uint32_t pending_request_id_ = 0;

  bool failed_ = false;
  bool settings_received_ = false;
  bool settings_acknowledged_ = false;
  bool goaway_received_ = false;
  // An unfinished payload, behind an unfinished header block. What is small, as every control frame is, lies in a block
  // that each session may have: a peer that leaves frames unfinished on many connections must not use up the others.
  bool has_small_carry_ = false;
  bool awaiting_continuation_ = false;
  bool block_ends_stream_ = false;
  bool block_depends_on_itself_ = false;
  uint16_t continuations_ = 0;
  bool copies_data_ = false;
  uint32_t block_stream_id_ = 0;
  uint8_t* carry_ = nullptr;
  uint32_t carry_filled_ = 0;
  uint32_t block_size_ = 0;  // bytes of the header block at the start of carry_

  Settings peer_;
  uint32_t goaway_last_id_ = max_stream_id;
  uint32_t goaway_sent_id_ = max_stream_id;
  uint32_t reset_tokens_;
  uint32_t frame_tokens_;
  uint32_t work_ = 0;
  uint32_t refilled_s_ = 0;
  // How much DATA may still come on streams that we have reset: what the windows of all of them allowed then. What
  // their peer did not use stays.
  uint32_t crossing_bytes_ = 0;
  uint32_t forgotten_reset_ = 0;       // the highest id that has left recent_resets_
  uint32_t* recent_resets_ = nullptr;  // from the first one on
};

}  // namespace plait::h2
