// LoopLimits: the bounds of one loop and of what both sides have on it. Its memory is made of them (loop_memory.h). The
// client's and the server's own bounds are in client/pool_limits.h and server/server_limits.h; limits.h has them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "plait/base/limits_mistake.h"

namespace plait {

struct LoopLimits {
  bool operator==(const LoopLimits&) const = default;

  // Requests in progress, each with one client stream and at most one upstream stream.
  uint32_t exchanges = 8192;
  uint32_t client_connections = 10'000;
  // Not all that wait at once: where descriptors are short none goes to a client that has no place.
  bool accepts_one_by_one = false;
  // Connections to backends, over all of them: ready ones, and retired ones on which requests or tunnels still run.
  uint32_t upstream_connections = 1024;

  // Memory, in blocks. Those of response bodies: of each exchange's window, which a stream begins with, and the pool by
  // which windows grow.
  uint32_t stream_block_size = 4096;
  uint32_t upstream_stream_window = 32 << 10;
  uint32_t burst_pool_bytes = 64 << 20;
  static constexpr uint32_t largest_window = 0x7fff'ffff;  // RFC 9113 §6.9.1
  uint32_t send_block_size = 16 << 10;
  uint32_t send_blocks = 16'384;
  uint32_t record_blocks = 4096;
  uint32_t send_queue_bytes = 128 << 10;                    // one connection's output, above which its streams wait
  static constexpr uint32_t cipher_queue_bytes = 64 << 10;  // of it, with TLS: what is encrypted before it is sent
  uint32_t receive_buffers = 512;                           // a power of two
  static constexpr uint32_t most_receive_buffers = 32'768;  // of a ring of io_uring's
  uint32_t receive_buffer_size = 16 << 10;
  // A head, of a request or a response: its fields by RFC 9113 §6.5.2's measure, and how many there are.
  uint32_t header_bytes = 32 << 10;
  uint32_t header_fields = 100;
  uint32_t medium_header_blocks = 2048;
  uint32_t large_header_blocks = 256;

  // How long a busy worker's turn may wait at the most for more than its first completion (io/coalescer.h). 0: never.
  uint32_t coalesce_us = 500;

  // Limits on frames of an HTTP/2 peer that cost work and bring nothing (h2/session.h).
  uint32_t idle_frame_burst = 10'000;
  uint32_t idle_frames_per_second = 1000;

  // The work done for one HTTP/2 connection before everybody else has a turn: a decoded field counts one, a frame four,
  // a request twenty with its frame, and 2 KiB one. The requests that a client may have under way at once fit, and so
  // do some megabytes: bulk that is cut short arrives in smaller pieces and leaves in smaller ones, which costs all of
  // it more.
  uint32_t work_per_turn = 4096;

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

  // The first bound with which memory itself would be wrong, or none.
  constexpr std::optional<LimitsMistake> defect() const {
    if (receive_buffers == 0 || (receive_buffers & (receive_buffers - 1)) != 0)
      return LimitsMistake{
          .key = "receive_buffers", .value = receive_buffers, .must_be_power_of_two = true, .reason = ring_reason};
    if (receive_buffers > most_receive_buffers)
      return LimitsMistake{.key = "receive_buffers",
                           .value = receive_buffers,
                           .allowed = most_receive_buffers,
                           .reason = "a ring of io_uring has no more places"};
    return windowMistake("upstream_stream_window", upstream_stream_window);
  }
  // The first promise that cannot be kept, or none.
  constexpr std::optional<LimitsMistake> mistake() const {
    if (const auto found = defect()) return found;
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
    return std::nullopt;
  }

  static constexpr const char* ring_reason = "a ring has as many places";
  static constexpr std::optional<LimitsMistake> windowMistake(const char* key, uint32_t window) {
    if (window <= largest_window) return std::nullopt;
    return LimitsMistake{
        .key = key, .value = window, .allowed = largest_window, .reason = "HTTP/2 knows no larger window"};
  }
};

}  // namespace plait
