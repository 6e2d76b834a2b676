// Text that is put together in a buffer of fixed size, without allocation.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace plait {

// Writes text from the front of a buffer and remembers whether all of it fitted.
class TextWriter {
 public:
  explicit TextWriter(std::span<char> buffer) : buffer_(buffer) {}
  void put(std::string_view text) {
    if (text.size() > buffer_.size() - size_) {
      fits_ = false;
      return;
    }
    if (!text.empty()) std::memcpy(buffer_.data() + size_, text.data(), text.size());
    size_ += text.size();
  }
  void put(uint32_t number) {
    char digits[10];
    const auto end = std::to_chars(digits, digits + sizeof(digits), number).ptr;
    put(std::string_view(digits, static_cast<size_t>(end - digits)));
  }
  bool fits() const { return fits_; }
  // Empty where not all of it fitted.
  std::string_view text() const { return fits_ ? std::string_view(buffer_.data(), size_) : std::string_view(); }

 private:
  std::span<char> buffer_;
  size_t size_ = 0;
  bool fits_ = true;
};

}  // namespace plait
