#include "plait/proxy/access_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace plait {

// In the ring a record is this, and its texts behind it.
struct AccessRing::Header {
  static constexpr size_t texts = 8;
  uint32_t size;    // of the whole entry, a multiple of 16
  bool is_padding;  // nothing but the rest of the ring's end
  uint16_t lengths[texts];
  AccessRecord record;
};

namespace {

constexpr size_t alignment = 16;

std::array<std::string_view*, 8> textsOf(AccessRecord& record) {
  return {&record.client,    &record.real_client, &record.request_id, &record.method,
          &record.authority, &record.path,        &record.referer,    &record.user_agent};
}

}  // namespace

AccessRing::AccessRing(size_t size) : memory_(size), size_(size) {
  PLAIT_ASSERT(size >= 64 * 1024);
  PLAIT_ASSERT((size & (size - 1)) == 0);
}

bool AccessRing::push(const AccessRecord& record) {
  AccessRecord copy = record;
  const auto texts = textsOf(copy);
  size_t size = sizeof(Header);
  for (std::string_view* text : texts) {
    *text = text->substr(0, max_text);
    size += text->size();
  }
  size = (size + alignment - 1) / alignment * alignment;
  uint64_t position = pushed_.load(std::memory_order_relaxed);
  const size_t to_end = size_ - static_cast<size_t>(position & (size_ - 1));
  // An entry lies in one piece: where it would reach over the end, the rest of the ring is padding.
  const size_t padding = to_end < size ? to_end : 0;
  if (size_ - static_cast<size_t>(position - popped_.load(std::memory_order_acquire)) < size + padding) {
    dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return false;
  }
  if (padding != 0) {
    // The rest may be too short for a whole header, but never for its first fields.
    uint8_t* place = memory_.data() + (position & (size_ - 1));
    static_assert(offsetof(Header, is_padding) < alignment);
    const auto padding_size = static_cast<uint32_t>(padding);
    std::memcpy(place, &padding_size, sizeof(padding_size));
    place[offsetof(Header, is_padding)] = 1;
    position += padding;
  }
  uint8_t* place = memory_.data() + (position & (size_ - 1));
  auto* header = new (place) Header{static_cast<uint32_t>(size), false, {}, copy};
  uint8_t* end = place + sizeof(Header);
  for (size_t i = 0; i < texts.size(); ++i) {
    header->lengths[i] = static_cast<uint16_t>(texts[i]->size());
    if (!texts[i]->empty()) std::memcpy(end, texts[i]->data(), texts[i]->size());
    end += texts[i]->size();
  }
  lines_.store(lines_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  pushed_.store(position + size, std::memory_order_release);
  return true;
}

bool AccessRing::front(AccessRecord& record) {
  uint64_t position = popped_.load(std::memory_order_relaxed);
  if (position == pushed_.load(std::memory_order_acquire)) return false;
  uint8_t* place = memory_.data() + (position & (size_ - 1));
  if (place[offsetof(Header, is_padding)] != 0) {
    uint32_t padding = 0;
    std::memcpy(&padding, place, sizeof(padding));
    position += padding;
    popped_.store(position, std::memory_order_release);
    place = memory_.data() + (position & (size_ - 1));  // padding is published together with what follows it
  }
  const auto* header = reinterpret_cast<const Header*>(place);
  record = header->record;
  const char* text = reinterpret_cast<const char*>(place) + sizeof(Header);
  size_t i = 0;
  for (std::string_view* view : textsOf(record)) {
    *view = {text, header->lengths[i]};
    text += header->lengths[i++];
  }
  front_size_ = header->size;
  return true;
}

void AccessRing::popped() {
  PLAIT_ASSERT(front_size_ != 0);
  popped_.store(popped_.load(std::memory_order_relaxed) + std::exchange(front_size_, 0), std::memory_order_release);
}

namespace {

std::string cannotOpen(const std::string& path, const char* why) {
  return "cannot open the access log " + path + ": " + why;
}

}  // namespace

std::string AccessLog::mistake(const std::string& path) {
  if (path == "-") return {};
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return cannotOpen(path, std::strerror(EISDIR));
    if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) return cannotOpen(path, std::strerror(errno));
    return {};
  }
  if (errno != ENOENT) return cannotOpen(path, std::strerror(errno));
  const size_t slash = path.rfind('/');
  const std::string folder = slash == path.npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  if (::stat(folder.c_str(), &status) != 0 && errno == ENOENT) {
    return cannotOpen(path, ("there is no folder " + folder).c_str());
  }
  if (::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) == 0) return {};
  return cannotOpen(path, ("no file can be made in " + folder + ": " + std::strerror(errno)).c_str());
}

AccessLog::~AccessLog() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
}

std::string AccessLog::open() {
  if (path_ == "-") {
    fd_ = STDOUT_FILENO;
    return {};
  }
  const int fd = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return cannotOpen(path_, std::strerror(errno));
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
  return {};
}

void AccessLog::drain(AccessRing& ring, int64_t wall_offset_ns) {
  constexpr size_t batch_size = 256 * 1024;
  AccessRecord record;
  while (ring.front(record)) {
    (format_ == LogFormat::json ? formatJson : formatCombined)(record, wall_offset_ns, backends_, batch_);
    ring.popped();
    if (batch_.size() >= batch_size) flush();
  }
  flush();
}

void AccessLog::flush() {
  std::string_view rest = batch_;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      failed_because_ = written < 0 ? errno : 0;
      failed_lines_ += static_cast<uint64_t>(std::count(rest.begin(), rest.end(), '\n'));
      is_failing_ = true;
      break;
    }
    is_failing_ = false;
    rest.remove_prefix(static_cast<size_t>(written));
  }
  batch_.clear();
}

}  // namespace plait
