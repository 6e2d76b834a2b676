#include "plait/control/clerk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <set>

namespace plait {
namespace {

// At most ten generations a second.
constexpr int64_t least_pause_ms = 100;
// A file is written in several steps: what follows a change within this time belongs to it.
constexpr int64_t settle_ms = 100;

int64_t nowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string textOf(const ReloadReport& report) {
  std::string text = report.is_done ? fmt::format("generation {}\n", report.generation)
                                    : fmt::format("not reloaded, generation {} goes on\n", report.generation);
  for (const std::string& line : report.lines) text += line + '\n';
  return text;
}

}  // namespace

Clerk::~Clerk() {
  if (thread_.joinable()) stop();
  for (const int fd : {wake_fds_[0], wake_fds_[1], notify_fd_}) {
    if (fd >= 0) ::close(fd);
  }
}

std::string Clerk::start(const Options& options) {
  if (::pipe2(wake_fds_, O_CLOEXEC | O_NONBLOCK) != 0)
    return std::string("no pipe can be made: ") + std::strerror(errno);
  if (!options.socket.empty()) {
    auto made = ControlSocket::open(options.socket);
    if (!made) return made.error();
    socket_.emplace(std::move(*made));
  }
  watches_ = options.watches;
  if (watches_) {
    notify_fd_ = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (notify_fd_ < 0) return std::string("files cannot be watched: ") + std::strerror(errno);
    watchFiles();
  }
  thread_ = std::thread([this] { run(); });
  return {};
}

void Clerk::wake() {
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = ::write(wake_fds_[1], &byte, 1);
}

void Clerk::requestReload() {
  is_asked_.store(true, std::memory_order_relaxed);
  wake();
}

void Clerk::stop() {
  is_ending_.store(true, std::memory_order_relaxed);
  wake();
  thread_.join();
}

// Folders are watched, since editors and Kubernetes replace files and links.
void Clerk::watchFiles() {
  std::set<std::string> folders;
  for (const std::string& file : reloader_.files()) {
    const size_t slash = file.rfind('/');
    folders.insert(slash == file.npos ? "." : slash == 0 ? "/" : file.substr(0, slash));
  }
  // A folder that is watched already keeps its watch.
  for (const std::string& folder : folders) {
    if (::inotify_add_watch(notify_fd_, folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | IN_CREATE) < 0)
      log_.say(
          {LogLevel::warning, "configuration", fmt::format("{} cannot be watched: {}", folder, std::strerror(errno))});
  }
}

bool Clerk::hasChanged() {
  std::set<std::string> names;
  for (const std::string& file : reloader_.files()) names.insert(file.substr(file.rfind('/') + 1));
  bool has_changed = false;
  alignas(inotify_event) char buffer[8192];
  for (ssize_t got = 0; (got = ::read(notify_fd_, buffer, sizeof(buffer))) > 0;) {
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      // "..data" is the link that Kubernetes swaps.
      if (event->len != 0 && (names.contains(event->name) || std::strcmp(event->name, "..data") == 0))
        has_changed = true;
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
  return has_changed;
}

ReloadReport Clerk::reloadInTime() {
  const int64_t wait_ms = last_reload_ms_ + least_pause_ms - nowMs();
  if (wait_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
  // What was asked for until now is in what is read now.
  is_asked_.store(false, std::memory_order_relaxed);
  last_reload_ms_ = nowMs();
  ReloadReport report = reloader_.reload();
  if (watches_) watchFiles();
  return report;
}

void Clerk::serveSocket() {
  std::string command;
  const int client = socket_->accept(command);
  if (client < 0) return;
  if (command == "reload") return ControlSocket::answer(client, textOf(reloadInTime()));
  if (command == "status") return ControlSocket::answer(client, reloader_.status());
  ControlSocket::answer(client, fmt::format("there is no command \"{}\": there are reload and status\n", command));
}

void Clerk::run() {
  ::pthread_setname_np(::pthread_self(), "plait-clerk");
  bool has_changed = false;
  while (true) {
    pollfd fds[3] = {{wake_fds_[0], POLLIN, 0}, {socket_ ? socket_->fd() : -1, POLLIN, 0}, {notify_fd_, POLLIN, 0}};
    const int ready = ::poll(fds, 3, has_changed ? static_cast<int>(settle_ms) : -1);
    if (ready < 0 && errno != EINTR) return;
    char bytes[64];
    while (::read(wake_fds_[0], bytes, sizeof(bytes)) > 0) {
    }
    if (is_ending_.load(std::memory_order_relaxed)) return;
    if ((fds[1].revents & POLLIN) != 0) serveSocket();
    const bool changes = (fds[2].revents & POLLIN) != 0 && hasChanged();
    if (is_asked_.load(std::memory_order_relaxed) || (has_changed && !changes)) {
      (void)reloadInTime();
      has_changed = false;
    } else {
      has_changed = has_changed || changes;
    }
  }
}

}  // namespace plait
