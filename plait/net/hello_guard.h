// HelloGuard: refuses a ClientHello that says it is longer than any honest one.
//
// OpenSSL allows 131,000 bytes and takes memory for all of them once it has read the length, for which a client needs
// to send 9 bytes. It has no setting for that, so the guard reads along: the records in which a client speaks in the
// clear, and the lengths of its ClientHello messages, of which there are two where the server asks for another key
// share (RFC 8446 §4.1.4). A ClientHello with post-quantum key shares has less than 4 KiB.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "plait/base/bytes.h"

namespace plait {

class HelloGuard {
 public:
  static constexpr size_t max_hello = 16 * 1024;
  // illegal_parameter, as OpenSSL answers messages that are too long, in a record (RFC 8446 §5.1, §6).
  static constexpr std::array<uint8_t, 7> alert{21, 3, 3, 0, 2, 2, 47};

  // The next bytes from the client. False where they must not be read: a ClientHello is too long. `is_tls_1_3` is
  // what has been negotiated so far, and counts behind ChangeCipherSpec alone.
  bool admits(Bytes bytes, bool is_tls_1_3) {
    while (!bytes.empty() && !is_over_ && !has_refused_) {
      if (record_left_ == 0) {
        beginRecord(bytes, is_tls_1_3);
      } else {
        const Bytes part = bytes.first(std::min<size_t>(bytes.size(), record_left_));
        if (header_[0] == handshake) readMessages(part);
        record_left_ -= static_cast<uint32_t>(part.size());
        bytes = bytes.subspan(part.size());
      }
    }
    return !has_refused_;
  }
  bool hasRefused() const { return has_refused_; }

 private:
  static constexpr uint8_t change_cipher_spec = 20;
  static constexpr uint8_t handshake = 22;
  static constexpr uint8_t client_hello = 1;

  void beginRecord(Bytes& bytes, bool is_tls_1_3) {
    header_[header_size_++] = bytes.front();
    bytes = bytes.subspan(1);
    if (header_size_ != header_.size()) return;
    header_size_ = 0;
    record_left_ = static_cast<uint32_t>(header_[3] << 8 | header_[4]);
    // Behind ChangeCipherSpec TLS 1.2 is encrypted; in TLS 1.3 it means nothing, and records that are encrypted have a
    // type of their own.
    is_over_ = header_[0] == change_cipher_spec ? !is_tls_1_3 : header_[0] != handshake;
  }
  void readMessages(Bytes bytes) {
    while (!bytes.empty() && !has_refused_) {
      const size_t skipped = std::min<size_t>(bytes.size(), message_left_);
      message_left_ -= static_cast<uint32_t>(skipped);
      bytes = bytes.subspan(skipped);
      if (bytes.empty()) return;
      message_[message_size_++] = bytes.front();
      bytes = bytes.subspan(1);
      if (message_size_ != message_.size()) continue;
      message_size_ = 0;
      message_left_ = static_cast<uint32_t>(message_[1] << 16 | message_[2] << 8 | message_[3]);
      has_refused_ = message_[0] == client_hello && message_left_ > max_hello;
    }
  }

  uint32_t record_left_ = 0;   // bytes of the record's content
  uint32_t message_left_ = 0;  // bytes of the handshake message
  std::array<uint8_t, 5> header_{};
  std::array<uint8_t, 4> message_{};
  uint8_t header_size_ = 0;
  uint8_t message_size_ = 0;
  bool is_over_ = false;  // what follows is encrypted
  bool has_refused_ = false;
};

}  // namespace plait
