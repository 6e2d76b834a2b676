// Every bound of one worker, and what they add up to. Nothing is allocated after start: what these numbers reserve is
// what the worker can ever use. The defaults are starting values; the configuration overrides the named ones.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plait {

struct Limits {
  // Requests in progress, each with one client stream and at most one upstream stream.
  uint32_t exchanges = 8192;
  uint32_t client_connections = 10'000;
  // Connections to backends, over all of them: ready ones, and dead ones that still drain.
  uint32_t upstream_connections = 1024;

  uint32_t h2_connections_per_backend = 8;
  uint32_t h1_connections_per_backend = 256;
  uint32_t streams_per_upstream_connection = 128;
  uint32_t streams_before_settings = 100;  // RFC 9113 §6.5.2 recommends no peer to allow fewer
  uint32_t streams_per_client = 128;

  // Flow control: what plait promises to its peers.
  uint32_t upstream_connection_window = 16 << 20;
  uint32_t upstream_stream_window = 32 << 10;
  uint32_t client_connection_window = 1 << 20;  // what it may grow to; it starts with RFC 9113's 65,535
  uint32_t client_stream_window = 65'535;

  // Memory, in blocks. stream_blocks: 9 for each exchange's window (8 full ones and a partly filled one), and the pool
  // for bursts. Request bodies have blocks of their own, so that neither direction can starve the other.
  uint32_t stream_block_size = 4096;
  uint32_t upload_pool_bytes = 64 << 20;
  uint32_t burst_pool_bytes = 64 << 20;
  uint32_t send_block_size = 16 << 10;
  uint32_t send_blocks = 16'384;
  uint32_t record_blocks = 4096;
  uint32_t send_queue_bytes = 128 << 10;  // one connection's output, above which its streams wait
  uint32_t receive_buffers = 512;         // a power of two
  uint32_t receive_buffer_size = 16 << 10;
  uint32_t medium_header_blocks = 2048;
  uint32_t large_header_blocks = 256;

  // OpenSSL's own memory for each connection that may speak TLS: some 49 KiB live during a handshake, less afterwards.
  uint32_t tls_bytes_per_connection = 64 << 10;
  // How long a busy worker's turn may wait at the most for more than its first completion (io/coalescer.h). 0: never.
  uint32_t coalesce_us = 500;
  // What waits to be written to the access log; a power of two. Two tenths of a second of 100,000 requests fit.
  uint32_t access_ring_bytes = 4 << 20;

  // What a client must keep up over each stall timeout while plait waits for it: with a request's body, or in taking a
  // response. 0 asks for nothing.
  uint32_t upload_bytes_per_second = 240;
  uint32_t download_bytes_per_second = 240;
  // What an HTTP/2 peer may do that costs work and brings nothing (h2/session.h).
  uint32_t reset_burst = 1000;
  uint32_t resets_per_second = 100;
  uint32_t idle_frame_burst = 10'000;
  uint32_t idle_frames_per_second = 1000;

  // A request whose Via names plait so often goes round in a circle.
  uint32_t hops_through_plait = 16;

  // What is done for one HTTP/2 connection before everybody else has a turn: a decoded field counts one, a frame four,
  // a request twenty with its frame, and 2 KiB one. What a client may have under way at once fits, and so do some
  // megabytes: bulk that is cut short arrives in smaller pieces and leaves in smaller ones, which costs all of it more.
  uint32_t work_per_turn = 4096;

  uint32_t replay_bytes_per_request = 16 << 10;
  uint32_t replay_bytes = 8 << 20;
  uint32_t unprocessed_retries = 5;
  uint32_t unknown_retry_percent = 20;
  uint32_t unknown_retry_burst = 1024;

  constexpr uint32_t streamBlocks() const { return exchanges * 9 + burst_pool_bytes / stream_block_size; }
  constexpr uint32_t uploadBlocks() const { return upload_pool_bytes / stream_block_size; }
  // The last send blocks are for the connections to backends, which many clients share: clients that do not read must
  // not take them.
  constexpr uint32_t blocksLeftByClients() const { return send_blocks / 8; }
  // Request head, response head and trailers of every exchange.
  constexpr uint32_t smallHeaderBlocks() const { return exchanges * 3; }
  // A decrypted record and what its padding takes (RFC 8446 §5.2).
  constexpr uint32_t recordBlockSize() const { return send_block_size + 1024; }
  // A handshake's peak is above its connection's share: few connections get room for several handshakes at once.
  constexpr uint64_t tlsBytes(uint64_t connections) const {
    return connections == 0 ? 0 : connections * tls_bytes_per_connection + (uint64_t{4} << 20);
  }
  constexpr uint32_t frames() const { return client_connections * 2 + upstream_connections * 2 + exchanges * 2; }
};

static_assert(Limits().stream_block_size * 9 > Limits().upstream_stream_window,
              "a window that is promised has its blocks");
static_assert(Limits().send_queue_bytes >= 4 * Limits().send_block_size, "a connection's output fills whole blocks");
// While three quarters of the send blocks are free a client that does not read may fill its queue, later it holds one
// block (ByteQueue::bulkRoom): there is one for every client even if none reads, and then one for every backend's. A
// piece that is sent from its receive buffer takes two blocks, and there are a quarter as many of them as of those.
static_assert(Limits().send_blocks / 4 * 3 - Limits().blocksLeftByClients() >=
                  Limits().client_connections - (Limits().send_blocks / 4 - Limits().receive_buffers / 4 * 2) /
                                                    (Limits().send_queue_bytes / Limits().send_block_size),
              "clients that do not read leave a block to each other");
static_assert(Limits().blocksLeftByClients() / 2 >= Limits().upstream_connections,
              "clients that do not read leave a block to each connection to a backend");
static_assert((Limits().receive_buffers & (Limits().receive_buffers - 1)) == 0,
              "io_uring's ring of buffers wants a power of two");
static_assert((Limits().access_ring_bytes & (Limits().access_ring_bytes - 1)) == 0, "the ring's offsets are masked");
static_assert(Limits().replay_bytes_per_request <= Limits().upstream_stream_window,
              "what is replayed is in the window already");
static_assert(Limits().work_per_turn >= Limits().streams_per_client * (20 + 10),
              "as many requests as a client may have, of ten fields each, are one turn's work");
static_assert(Limits().recordBlockSize() > 16 << 10, "a record's plaintext fits (RFC 8446 §5.1)");

}  // namespace plait
