#include "plait/control/access_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace plait {
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
