#include "plait/net/buffered_input.h"

#include <cstring>

namespace plait {

BlockSlab& BufferedInput::slabOf(size_t block_class) {
  return block_class < blocks_.size() ? blocks_[block_class] : sock_.output().blocks();
}

void BufferedInput::giveBlock() {
  if (block_ != nullptr) slabOf(block_class_).give(std::exchange(block_, nullptr));
}

bool BufferedInput::moveTo(size_t block_class) {
  auto* larger = static_cast<uint8_t*>(slabOf(block_class).take());
  if (larger == nullptr) return false;
  std::memcpy(larger, bytes_.data(), bytes_.size());
  giveBlock();
  block_ = larger;
  block_class_ = block_class;
  bytes_ = {block_, bytes_.size()};
  return true;
}

void BufferedInput::park() {
  if (bytes_.empty()) giveBlock();
  const bool is_parked =
      block_ != nullptr && bytes_.data() >= block_ && bytes_.data() < block_ + slabOf(block_class_).blockSize();
  if (bytes_.empty() || is_parked) return sock_.doneReading();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    // The largest are few, and heads have need of them.
    const ByteQueue& output = sock_.output();
    const bool is_last = i + 1 == blocks_.size();
    if (is_last && bytes_.size() <= output.blocks().blockSize() &&
        output.blocks().available() > output.leftToOthers() && moveTo(blocks_.size()))
      return sock_.doneReading();
    if (blocks_[i].blockSize() >= bytes_.size() && moveTo(i)) return sock_.doneReading();
  }
}

// Makes sure that the unread bytes are at the start of a block of at least `size` bytes.
bool BufferedInput::reserve(size_t size) {
  if (block_ != nullptr && slabOf(block_class_).blockSize() >= size) {
    if (bytes_.data() != block_) std::memmove(block_, bytes_.data(), bytes_.size());
    bytes_ = {block_, bytes_.size()};
    return true;
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i].blockSize() >= size && moveTo(i)) return true;
  }
  return false;
}

Status BufferedInput::keepUnread() {
  if (bytes_.empty()) {
    giveBlock();
    return {};
  }
  if (bytes_.size() >= blocks_.back().blockSize()) {
    return fail(connectionError(ErrorCode::message_too_large, "a message's head exceeds the largest block"));
  }
  if (bytes_.data() == block_) return {};
  if (!reserve(bytes_.size() + 1))
    return fail(connectionError(ErrorCode::no_memory, "no block is left for a message's head"));
  return {};
}

Result<bool> BufferedInput::onReceived(const Result<Bytes>& received) {
  if (!received) return fail(received.error());
  if (received->empty()) return false;
  if (bytes_.empty()) {
    bytes_ = *received;
    return true;
  }
  const size_t size = bytes_.size() + received->size();
  if (size > blocks_.back().blockSize()) {
    return fail(connectionError(ErrorCode::message_too_large, "a message's head exceeds the largest block"));
  }
  if (!reserve(size)) return fail(connectionError(ErrorCode::no_memory, "no block is left for a message's head"));
  std::memcpy(block_ + bytes_.size(), received->data(), received->size());
  bytes_ = {block_, size};
  return true;
}

}  // namespace plait
