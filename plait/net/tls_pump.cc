#include "plait/net/tls_pump.h"

#include "plait/base/rare.h"

namespace plait {

TlsPump::Read TlsPump::read(std::optional<Result<Bytes>>& result, Io& io) {
  while (true) {
    if (session_.atEnd()) {
      result.emplace(Bytes());
      return Read::done;
    }
    if (record_ == nullptr) record_ = static_cast<uint8_t*>(record_blocks_.take());
    if (record_ == nullptr) {
      PLAIT_RARE("a reader waits for a block for a record");
      io.arm(retry_timer_, io.nowNs() + TimerWheel::tick_ns);
      return Read::needs_block;
    }
    auto size = session_.read({record_, record_blocks_.blockSize()});
    if (!size) {
      result.emplace(fail(size.error()));
      return Read::done;
    }
    if (*size != 0) {
      result.emplace(Bytes(record_, *size));
      return Read::done;
    }
    if (!session_.atEnd()) return Read::needs_input;
  }
}

Status TlsPump::encrypt() {
  // Encryption gives a block back for the one that it takes, so it may take any: plaintext for whose ciphertext
  // there is no block would keep its own from everybody.
  cipher_.leaveToOthers(0);
  Status status;
  ByteQueue& plaintext = output_.queue();
  while (!plaintext.empty() && cipher_.size() < max_cipher_bytes) {
    auto taken = session_.write(plaintext.front());
    if (!taken) status = fail(taken.error());
    if (!taken || *taken == 0) break;
    output_.noteEncrypted(*taken);
  }
  cipher_.leaveToOthers(plaintext.leftToOthers());
  note();
  return status;
}

}  // namespace plait
