// One HTTP/2 connection without its socket: bytes in → events, commands in → bytes out (RFC 9113). Both roles are this
// one engine. It owns no stream: slots belong to the session's owner and are linked here by their id, so a session
// never allocates and never waits.
//
// A connection error is returned by next() once; GOAWAY is then queued, and the owner flushes and closes. A stream
// error is dealt with here (RST_STREAM is queued) and told by an event if the owner knows the stream.
#pragma once

#include <algorithm>

#include "plait/base/byte_queue.h"
#include "plait/base/error.h"
#include "plait/h2/frame_reader.h"
#include "plait/h2/guards.h"
#include "plait/h2/hpack_decoder.h"
#include "plait/h2/hpack_encoder.h"
#include "plait/h2/resets.h"
#include "plait/h2/session_scratch.h"
#include "plait/h2/stream_table.h"
#include "plait/http/message.h"

namespace plait::h2 {

class HeadBuilder;

enum class Role : uint8_t { client, server };

struct Event {
  enum class Kind : uint8_t {
    none,          // the input is used up
    request,       // server: a new stream; accept() or refuse() it before the next call
    rejected,      // server: a request that was malformed, too large or one too many; `request` is what could be read.
                   // RST_STREAM went out, unless there is a `status`: then it may be accepted and answered
    response,      // client: the final response head
    interim,       // client: a 1xx head
    trailers,      // always ends the stream; `fields`
    data,          // `data`, a part of a DATA frame; may be empty with end_stream
    stream_error,  // the stream is over: the peer reset it (`by_peer`), or it was malformed and we did; `stream` is
                   // null where it had been over before. With a `status`, which is for trailers that are too large, it
                   // was not reset: the owner answers or resets
    window,        // more may be sent: on `stream`, or on all when it is null
    settings,      // the peer's settings changed; windows may have opened on every stream
    goaway,        // streams above `last_stream_id` were not processed; it never rises from one to the next; `data` is
                   // what the peer adds for people to read
    ping_ack,
  };
  Kind kind = Kind::none;
  Stream* stream = nullptr;
  uint32_t stream_id = 0;
  uint16_t status = 0;  // rejected, stream_error: what the request deserves (RFC 6585 §5, RFC 9110 §15.5.15)
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

// So many received bytes count as one in LoopLimits::work_per_turn.
inline constexpr size_t bytes_for_work = 2048;

class Session {
 public:
  // `output` receives what is to be sent. `scratch` is shared with other sessions of the same thread. It and `config`
  // outlive the session.
  Session(Role role, ByteQueue& output, SessionScratch& scratch, const SessionConfig& config);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Queues our preface, SETTINGS, and the surplus of the connection window.
  void start();

  // Takes bytes off `input` until something happened that the owner must know; Kind::none when all are taken. Views in
  // the event are valid until the next call. `now_s` drives the token bucket of resets.
  Status next(Bytes& input, Event& event, uint32_t now_s);

  // -- server
  // Binds `stream` to the request that next() has just reported: one without accept() or refuse() is refused.
  void accept(Stream& stream);
  void refuse(uint32_t stream_id, H2Error code);

  // -- client
  // Not behind a frame for which there was no block either: peers would not be in step.
  bool canOpenStream() const { return next_stream_id_ <= max_stream_id && !goaway_received_ && !failed_; }

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
  // With no data at all `stream.hasSentEnd()` tells whether the end was queued, as sendEnd() would.
  size_t sendData(Stream& stream, Bytes data, bool end_stream);
  // True when an empty DATA frame with END_STREAM has been queued.
  bool sendEnd(Stream& stream);
  // The bytes that sendData would take now.
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
  // The slot leaves the session; it may be reused at once. Frames that still come for its id are dropped and credited.
  void release(Stream& stream);

  const Settings& peerSettings() const { return peer_; }
  // The peer has acknowledged our SETTINGS. Until then a server's streams may hold 65,535 bytes even where less was
  // announced, since the client could not know (RFC 9113 §6.9.2).
  bool settingsAcknowledged() const { return settings_acknowledged_; }
  // Bytes of DATA that may be sent on all streams together; negative never, for no setting changes it.
  int64_t sendWindow() const { return send_window_.size(); }
  int64_t receiveWindow() const { return receive_window_.size(); }
  // The bytes that the peer has sent and has no credit for yet, nor will get when enough has come together: somebody
  // still holds them. With no stream under way there are none.
  int64_t outstandingCredit() const {
    return int64_t{std::max(connection_window_, default_window)} - receive_window_.size() - connection_credit_;
  }
  uint32_t lastPeerStreamId() const { return last_peer_stream_id_; }
  uint32_t streamCount() const { return streams_.count(); }
  // Little is left of what the guards tolerate: the time to ask for another connection, before this one is cut off.
  bool isNearItsLimits() const {
    return guards_.resetsLeft() < config_.reset_burst / 4 || guards_.framesLeft() < config_.idle_frame_burst / 4;
  }
  // How much of what the peer still sends is worth reading when this is over, so that the end does not become a reset
  // that overtakes our last words: of a peer that has broken the rules only what a first look at GOAWAY may cross.
  uint32_t unreadLimit() const { return failed_ ? 64 * 1024 : UINT32_MAX; }
  // The work done since the last call, in the units of LoopLimits::work_per_turn.
  uint32_t takeWork() { return std::exchange(work_, 0); }
  // The peer has a habit of resetting what it has just begun.
  bool hasManyResets() const { return guards_.resetsLeft() < config_.reset_burst / 4 * 3; }
  // Too many replies wait to be sent: stop reading until the output has left.
  bool isControlBacklogged() const { return queued_control_ >= config_.max_queued_control_frames; }
  void outputFlushed() { queued_control_ = 0; }
  // No DATA can be queued on any stream until output has left.
  bool isQueueFull() const {
    return output_.size() >= config_.send_queue_limit || output_.bulkRoom() <= frame_header_size;
  }
  // A header block has begun and is not complete: no frame of another stream may come in between (RFC 9113 §6.2).
  bool isReceivingHeaders() const { return reader_.isInBlock(); }
  Stream* find(uint32_t id) const { return streams_.find(id); }
  StreamList& streams() { return streams_.list(); }
  // Server: whether a request was refused because of GOAWAY; new streams are refused from now on above this id.
  void refuseAbove(uint32_t stream_id) { refuse_above_ = stream_id; }

 private:
  Status fail(const Error& error);
  Status fail(H2Error code, const char* reason, Fault fault = Fault::none) {
    return fail(frameError(code, reason, fault));
  }
  Status onFrame(Bytes input, Event& event);
  Status takePayload(Bytes& input, Event& event);
  Status onPayload(Bytes payload, Event& event);
  Status onSettings(Bytes payload, Event& event);
  // A header block is admitted, decoded, judged and delivered.
  struct HeaderBlock;
  Status onHeaderBlock(Bytes bytes, Event& event);
  Status admit(HeaderBlock& block);
  Status decode(Bytes bytes, HeadBuilder& head);
  bool comesToExcess(const HeadBuilder& head) const;
  Status onUnwantedBlock(const HeaderBlock& block, Event& event);
  Status judgeRequest(const HeaderBlock& block, const HeadBuilder& head, Event& event);
  Status judgeResponse(const HeaderBlock& block, HeadBuilder& head, Event& event);
  Status onTooLarge(const HeaderBlock& block, const HeadBuilder& head, Event& event);
  void deliverRequest(const HeadBuilder& head, Event& event);
  Status deliverResponse(const HeaderBlock& block, const HeadBuilder& head, Event& event);
  Status onWindowUpdate(Bytes payload, Event& event);
  Status onReset(Bytes payload, Event& event);
  Status onGoaway(Bytes payload, Event& event);
  Status onDataHeader(Event& event);
  Status onCrossingData();
  Status onDataPadding(Bytes& input, Event& event);
  Status onData(Bytes& input, Event& event);
  void setStreamError(Stream* stream, uint32_t id, H2Error code, const char* reason, Event& event);
  Status streamFailed(Stream* stream, uint32_t id, H2Error code, const char* reason, Event& event);
  void measureResponse(Stream& stream, HeadBuilder& head, uint16_t status);
  Status spendReset(Fault fault = Fault::reset_flood);
  // A header block may name an entry of the table with each of its bytes, and all must be decoded (RFC 9113 §4.3): one
  // that was too large counts by what it came to.
  void chargeForFields(size_t list_size);
  Status spendFrame();
  Status payFrames(uint32_t price);
  void earnFrames(uint32_t count) { guards_.giveFrames(config_, count); }
  uint32_t sendWindowOf(const Stream& stream) const;
  void reject(uint32_t id, H2Error code, Fault fault, const char* reason, Event& event);
  Status onSettingsAcknowledged();

  void appendFrame(FrameType type, uint8_t frame_flags, uint32_t stream_id, Bytes payload, bool is_control);
  size_t headLimit() const;
  // `stream` is null where none was made, or it is gone.
  void sendResetById(uint32_t id, H2Error code, const Stream* stream);
  void sendWindowUpdate(uint32_t stream_id, uint32_t increment);
  void link(Stream& stream, uint32_t id);
  bool isIdle(uint32_t id) const;
  bool isClosedForClient(const Stream* stream) const;

  // Of DATA that a window cut short so many bytes give back one frame's token: opening a window by little earns
  // nothing.
  static constexpr uint32_t cut_bytes_for_frame = 256;
  // A header block that comes to so many times what is allowed ends the connection.
  static constexpr uint32_t excess = 8;
  static constexpr uint32_t work_for_frame = 4;
  static constexpr uint32_t work_for_request = 16;

  // Small members lie in the padding at the end of larger ones: idle connections are many.
  FrameReader reader_;
  Stream* data_stream_ = nullptr;
  ByteQueue& output_;
  SessionScratch& scratch_;
  const SessionConfig& config_;
  [[no_unique_address]] HpackDecoder decoder_;
  uint32_t work_ = 0;
  [[no_unique_address]] HpackEncoder encoder_;
  bool copies_data_ = false;
  uint16_t queued_control_ = 0;

  FlowWindow send_window_;
  FlowWindow receive_window_;
  uint32_t connection_window_;  // what receive_window_ is refilled to
  uint32_t connection_credit_ = 0;

  [[no_unique_address]] StreamTable streams_;
  const Role role_;
  bool failed_ = false;
  bool settings_acknowledged_ = false;
  Resets resets_;
  Guards guards_;
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

  uint32_t goaway_last_id_ = max_stream_id;
  uint32_t goaway_sent_id_ = max_stream_id;
  [[no_unique_address]] Settings peer_;
  bool goaway_received_ = false;
  bool has_begun_ = false;  // our preface and SETTINGS have been queued
};

}  // namespace plait::h2
