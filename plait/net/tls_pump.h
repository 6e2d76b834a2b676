// TlsPump: the TLS part of a socket, between what arrives and the reader, and between output and the kernel.
//
//   ciphertext → one record's plaintext in a lent block → reader
//   plaintext of the output → cipher() → kernel
#pragma once

#include <optional>

#include "plait/base/byte_queue.h"
#include "plait/io/io.h"
#include "plait/net/sock_output.h"
#include "plait/net/tls.h"

namespace plait {

// It is lent from startTls() to close(), so that a plain socket holds none of it.
class TlsPump {
 public:
  // So much is encrypted before it is sent (LoopLimits::cipher_queue_bytes).
  static constexpr size_t max_cipher_bytes = 64 << 10;

  // `retry` is called when it may be time to look for a block again: nothing tells a socket when one is free, for a
  // record or for its ciphertext. `record_blocks` hold one decrypted record each while it is being read.
  TlsPump(TlsContext& context, SockOutput& output, BlockSlab& record_blocks, std::string_view server_name,
          AlpnOffer offer, Timer::Fire retry, void* owner)
      : output_(output),
        record_blocks_(record_blocks),
        cipher_(output.queue().blocks()),
        session_(context, cipher_, server_name, offer),
        retry_timer_(owner, retry) {
    cipher_.leaveToOthers(output.queue().leftToOthers());
    output.queue().spareOfBlock(TlsSession::record_overhead);
  }
  ~TlsPump() { giveRecord(); }

  TlsSession& session() { return session_; }
  // Ciphertext that waits to be sent. The owner sends it, and calls note() afterwards.
  ByteQueue& cipher() { return cipher_; }
  const ByteQueue& cipher() const { return cipher_; }

  enum class Read : uint8_t {
    done,         // there is a result: plaintext, the end, or an error
    needs_input,  // release the current ciphertext and feed() more
    needs_block,  // for a record; `retry` will be called
  };
  // Decrypts the next record.
  Read read(std::optional<Result<Bytes>>& result, Io& io);
  void feed(Bytes ciphertext) { session_.feed(ciphertext); }
  // The reader is done with the record that read() has shown.
  void giveRecord() {
    if (record_ != nullptr) record_blocks_.give(std::exchange(record_, nullptr));
  }

  // Encrypts output as far as the cipher queue and its blocks allow.
  Status encrypt();
  // The cipher queue has changed. The blocks of a socket with TLS are counted together.
  void note() { output_.queue().holdBulk(!cipher_.empty()); }

  // There is no block to encrypt the output into, and nothing under way will free one.
  void retryLater(Io& io) {
    if (!retry_timer_.isArmed()) io.arm(retry_timer_, io.nowNs() + starved_ns);
  }
  void cancelRetry() { retry_timer_.cancel(); }

 private:
  static constexpr TimeNs starved_ns = 50 * ns_per_ms;

  SockOutput& output_;
  BlockSlab& record_blocks_;
  ByteQueue cipher_;
  TlsSession session_;
  uint8_t* record_ = nullptr;  // decrypted, and being read
  Timer retry_timer_;
};

}  // namespace plait
