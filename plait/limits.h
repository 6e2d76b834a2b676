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

  // Memory, in blocks. stream_blocks: 9 for each exchange's window (8 full ones and a partly filled one), and the pool for
  // bursts. Request bodies have blocks of their own, so that neither direction can starve the other.
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

  uint32_t replay_bytes_per_request = 16 << 10;
  uint32_t replay_bytes = 8 << 20;
  uint32_t unprocessed_retries = 5;
  uint32_t unknown_retry_percent = 20;
  uint32_t unknown_retry_burst = 1024;

  uint32_t streamBlocks() const {
    return exchanges * 9 + burst_pool_bytes / stream_block_size;
  }
  uint32_t uploadBlocks() const { return upload_pool_bytes / stream_block_size; }
  // Request head, response head and trailers of every exchange.
  uint32_t smallHeaderBlocks() const { return exchanges * 3; }
  uint32_t frames() const { return client_connections * 2 + upstream_connections * 2 + exchanges * 2; }
};

}  // namespace plait
