// Every bound of one worker, and what they add up to. Nothing is allocated after start: what these numbers reserve is
// what the worker can ever use. The defaults are starting values; the configuration overrides the named ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace plait {

// A bound that another one does not allow (Limits::mistake).
struct LimitsMistake {
  // The bound, by its key in the configuration.
  const char* key;
  uint64_t value;
  // The most that it may be, unless it has to be a power of two.
  uint64_t allowed = 0;
  bool must_be_power_of_two = false;
  // The bound that `allowed` follows from; null where it follows from none.
  const char* by_key = nullptr;
  uint64_t by_value = 0;
  const char* reason;  // a clause
};

struct Limits {
  bool operator==(const Limits&) const = default;

  // Requests in progress, each with one client stream and at most one upstream stream.
  uint32_t exchanges = 8192;
  uint32_t client_connections = 10'000;
  // Not all that wait at once: where descriptors are short none goes to a client that has no place.
  bool accepts_one_by_one = false;
  // Connections to backends, over all of them: ready ones, and retired ones on which requests or tunnels still run.
  uint32_t upstream_connections = 1024;

  // Addresses of backends that there may be at a time.
  uint32_t endpoints = 1024;

  uint32_t h2_connections_per_backend = 8;
  uint32_t h1_connections_per_backend = 256;
  uint32_t streams_per_upstream_connection = 128;
  uint32_t streams_before_settings = 100;  // RFC 9113 §6.5.2 recommends no peer to allow fewer
  uint32_t streams_per_client = 128;

  // Flow control: what plait promises to its peers.
  uint32_t upstream_connection_window = 16 << 20;
  uint32_t upstream_stream_window = 32 << 10;
  uint32_t client_connection_window = 16 << 20;  // what it may grow to; it starts with RFC 9113's 65,535
  uint32_t client_stream_window = 65'535;
  static constexpr uint32_t largest_window = 0x7fff'ffff;  // RFC 9113 §6.9.1

  // Memory, in blocks. stream_blocks: those of each exchange's window, and the pool by which windows grow. Request
  // bodies have blocks of their own, so that neither direction can starve the other.
  uint32_t stream_block_size = 4096;
  uint32_t upload_pool_bytes = 64 << 20;
  uint32_t burst_pool_bytes = 64 << 20;
  uint32_t send_block_size = 16 << 10;
  uint32_t send_blocks = 16'384;
  uint32_t record_blocks = 4096;
  uint32_t send_queue_bytes = 128 << 10;                    // one connection's output, above which its streams wait
  static constexpr uint32_t cipher_queue_bytes = 64 << 10;  // of it, with TLS: what is encrypted before it is sent
  uint32_t receive_buffers = 512;                           // a power of two
  static constexpr uint32_t most_receive_buffers = 32'768;  // of a ring of io_uring's
  uint32_t receive_buffer_size = 16 << 10;
  // A head, of a request or a response: its fields by RFC 9113 §6.5.2's measure, how many there are, and the target.
  uint32_t header_bytes = 32 << 10;
  uint32_t header_fields = 100;
  uint32_t target_bytes = 8 << 10;
  uint32_t medium_header_blocks = 2048;
  uint32_t large_header_blocks = 256;

  // OpenSSL's own memory for each connection that may speak TLS: some 49 KiB live during a handshake, less afterwards.
  uint32_t tls_bytes_per_connection = 64 << 10;
  // How long a busy worker's turn may wait at the most for more than its first completion (io/coalescer.h). 0: never.
  uint32_t coalesce_us = 500;
  // The bytes that may wait to be written to the access log; a power of two. Two tenths of a second of 100,000 requests
  // fit.
  uint32_t access_ring_bytes = 4 << 20;

  // The rates that a client must keep up over each stall timeout while plait waits for it: with a request's body, or in
  // taking a response. 0 asks for nothing.
  uint32_t upload_bytes_per_second = 240;
  uint32_t download_bytes_per_second = 240;
  // Limits on frames of an HTTP/2 peer that cost work and bring nothing (h2/session.h).
  uint32_t reset_burst = 1000;
  uint32_t resets_per_second = 100;
  uint32_t idle_frame_burst = 10'000;
  uint32_t idle_frames_per_second = 1000;

  // A request whose Via names plait so often goes round in a circle.
  uint32_t hops_through_plait = 16;

  // The work done for one HTTP/2 connection before everybody else has a turn: a decoded field counts one, a frame four,
  // a request twenty with its frame, and 2 KiB one. The requests that a client may have under way at once fit, and so
  // do some megabytes: bulk that is cut short arrives in smaller pieces and leaves in smaller ones, which costs all of
  // it more.
  uint32_t work_per_turn = 4096;

  uint32_t replay_bytes_per_request = 16 << 10;
  uint32_t replay_bytes = 8 << 20;
  uint32_t unprocessed_retries = 5;
  uint32_t unknown_retry_percent = 20;
  uint32_t unknown_retry_burst = 1024;

  // Tests alone: so little of something that it runs out, which mistake() then does not mind.
  bool allows_shortage = false;

  // The bytes of a body that a block holds: all but its header.
  static constexpr uint32_t block_header = 16;
  constexpr uint32_t streamBlockPayload() const { return stream_block_size - block_header; }
  // The bytes of a window may begin and end anywhere in a block.
  constexpr uint32_t blocksOfWindow(uint32_t window) const { return window / streamBlockPayload() + 2; }
  constexpr uint32_t burstBlocks() const { return burst_pool_bytes / stream_block_size; }
  // The bytes of a response that an exchange has blocks for: a stream's window, or of HTTP/1.1 as much as one read
  // brings.
  constexpr uint32_t responseBytes() const {
    return upstream_stream_window < receive_buffer_size ? receive_buffer_size : upstream_stream_window;
  }
  constexpr uint32_t streamBlocks() const { return exchanges * blocksOfWindow(responseBytes()) + burstBlocks(); }
  constexpr uint32_t uploadBlocks() const { return upload_pool_bytes / stream_block_size; }
  // The last send blocks are for the connections to backends, which many clients share: clients that do not read must
  // not take them. Half of them may be used for what a client must be told at any price (ByteQueue::lastRoom).
  constexpr uint32_t blocksLeftByClients() const {
    return upstream_connections < send_blocks / 8 ? upstream_connections * 2 : send_blocks / 4;
  }
  // Nor may they take the last receive buffers from them: what clients wait for arrives in those.
  constexpr uint32_t buffersLeftByClients() const {
    const uint32_t eighth = (receive_buffers + 7) / 8;
    return eighth < receive_buffers ? eighth : 0;
  }
  // The last of the memory for uploads is for connections that hold little of it.
  static constexpr uint32_t little_upload = 16 << 10;
  constexpr uint32_t blocksForSmallUploads() const { return uploadBlocks() / 8; }
  // Request head, response head and trailers of every exchange.
  constexpr uint32_t smallHeaderBlocks() const { return exchanges * 3; }
  // Output that is being encrypted lies in a block as plaintext and in one or two as ciphertext, one socket after the
  // other: where blocks are scarce a socket with TLS holds no more than one with plain text at all other times
  // (ByteQueue::holdBulk).
  constexpr uint32_t blocksForEncryption() const { return 2; }
  // A client that does not read can fill so many while blocks are not scarce: its queue, and with TLS the ciphertext of
  // as much as is sent at once.
  constexpr uint32_t blocksOfFullQueue() const {
    return (send_queue_bytes + cipher_queue_bytes) / send_block_size + blocksForEncryption();
  }
  // A decrypted record and what its padding takes (RFC 8446 §5.2).
  constexpr uint32_t recordBlockSize() const { return send_block_size + 1024; }
  // A handshake's peak is above its connection's share: few connections get room for several handshakes at once.
  constexpr uint64_t tlsBytes(uint64_t connections) const {
    return connections == 0 ? 0 : connections * tls_bytes_per_connection + (uint64_t{4} << 20);
  }
  // While three quarters of the send blocks are free a client that does not read may fill its queue, later it holds one
  // block (ByteQueue::bulkRoom), with TLS as well: so many clients leave a block to each other even if none reads. A
  // piece that is sent from its receive buffer takes two blocks, and there are a quarter as many of them as of those.
  constexpr uint32_t clientsWithBlocks() const {
    const uint32_t quarter = send_blocks / 4;
    const uint32_t lent = receive_buffers / 4 * 2;
    const uint32_t kept = blocksLeftByClients() + blocksForEncryption();
    const uint32_t full_queues = quarter > lent ? (quarter - lent) / blocksOfFullQueue() : 0;
    return (quarter * 3 > kept ? quarter * 3 - kept : 0) + full_queues;
  }

  // The longest queue that leaves other clients three quarters of the send blocks.
  constexpr uint32_t largestQueue() const {
    const uint64_t quarter = uint64_t{send_blocks / 4} * send_block_size;
    const uint64_t encrypted = cipher_queue_bytes + blocksForEncryption() * send_block_size;
    return static_cast<uint32_t>(quarter > encrypted ? quarter - encrypted : 0);
  }

  // Bounds are promises to each other: the first of them that cannot be kept, or none. Asked for the defaults when this
  // is compiled, for a configuration when it is complete, and by everything that is made of limits.
  constexpr std::optional<LimitsMistake> mistake() const {
    // Without these, memory itself would be wrong.
    for (const auto& [key, value] :
         {std::pair("receive_buffers", receive_buffers), std::pair("access_ring_bytes", access_ring_bytes)}) {
      if (value == 0 || (value & (value - 1)) != 0)
        return LimitsMistake{
            .key = key, .value = value, .must_be_power_of_two = true, .reason = "a ring has as many places"};
    }
    if (receive_buffers > most_receive_buffers)
      return LimitsMistake{.key = "receive_buffers",
                           .value = receive_buffers,
                           .allowed = most_receive_buffers,
                           .reason = "a ring of io_uring has no more places"};
    for (const auto& [key, window] : {std::pair("upstream_connection_window", upstream_connection_window),
                                      std::pair("upstream_stream_window", upstream_stream_window),
                                      std::pair("client_connection_window", client_connection_window),
                                      std::pair("client_stream_window", client_stream_window)}) {
      if (window > largest_window)
        return LimitsMistake{
            .key = key, .value = window, .allowed = largest_window, .reason = "HTTP/2 knows no larger window"};
    }
    if (allows_shortage) return std::nullopt;
    if (upstream_connections > blocksLeftByClients() / 2)
      return LimitsMistake{.key = "upstream_connections",
                           .value = upstream_connections,
                           .allowed = blocksLeftByClients() / 2,
                           .by_key = "send_blocks",
                           .by_value = send_blocks,
                           .reason = "clients that do not read leave a send block to each connection to a backend"};
    if (client_connections > clientsWithBlocks())
      return LimitsMistake{.key = "client_connections",
                           .value = client_connections,
                           .allowed = clientsWithBlocks(),
                           .by_key = "send_blocks",
                           .by_value = send_blocks,
                           .reason = "clients that do not read leave a send block to each other"};
    if (send_queue_bytes > largestQueue())
      return LimitsMistake{.key = "send_queue_bytes",
                           .value = send_queue_bytes,
                           .allowed = largestQueue(),
                           .by_key = "send_blocks",
                           .by_value = send_blocks,
                           .reason = "one client that does not read may hold a quarter of the send blocks"};
    if (client_stream_window > upload_pool_bytes / 8)
      return LimitsMistake{.key = "client_stream_window",
                           .value = client_stream_window,
                           .allowed = upload_pool_bytes / 8,
                           .by_key = "upload_pool_bytes",
                           .by_value = upload_pool_bytes,
                           .reason = "one upload may hold an eighth of the memory for uploads"};
    if (replay_bytes_per_request > client_stream_window)
      return LimitsMistake{.key = "replay_bytes_per_request",
                           .value = replay_bytes_per_request,
                           .allowed = client_stream_window,
                           .by_key = "client_stream_window",
                           .by_value = client_stream_window,
                           .reason = "a body that is repeated fits into the window that it came in"};
    return std::nullopt;
  }
};

static_assert(!Limits().mistake());
static_assert(Limits().burstBlocks() / 8 * Limits().streamBlockPayload() + Limits().upstream_stream_window >= 8 << 20,
              "one stream alone may grow to 8 MiB");
static_assert(Limits().work_per_turn >= Limits().streams_per_client * (20 + 10),
              "as many requests as a client may have, of ten fields each, are one turn's work");

}  // namespace plait
