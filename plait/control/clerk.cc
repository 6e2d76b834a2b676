#include "plait/control/clerk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <poll.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>

#include "plait/control/read_config.h"

namespace plait {
namespace {

// At most ten generations a second.
constexpr int64_t least_pause_ms = 100;
// A file is written in several steps: what follows a change within this time belongs to it.
constexpr int64_t settle_ms = 100;
// A client of the socket has so long for its command, and so many are heard at once.
constexpr int64_t command_ms = 5000;
constexpr size_t most_askers = 16;
// Policies, cluster specs and TLS contexts that nobody uses any more are looked for at this interval while there may be
// some.
constexpr int64_t sweep_ms = 1000;
// A file of a pattern counts also when it goes.
constexpr uint32_t watched_events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE;

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
  for (const Asker& asker : askers_) ::close(asker.fd);
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

void Clerk::requestEnd() {
  reloader_.end();
  is_ending_.store(true, std::memory_order_relaxed);
  wake();
}

void Clerk::stop() {
  requestEnd();
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
    if (::inotify_add_watch(notify_fd_, folder.c_str(), watched_events) < 0)
      log_.say(
          {LogLevel::warning, "configuration", fmt::format("{} cannot be watched: {}", folder, std::strerror(errno))});
  }
}

bool Clerk::hasChanged() {
  std::set<std::string> names;
  for (const std::string& file : reloader_.files()) names.insert(file.substr(file.rfind('/') + 1));
  const auto matches = [&](const char* name) {
    return names.contains(name) || std::ranges::any_of(names, [&](const std::string& one) {
             return isPattern(one) && ::fnmatch(one.c_str(), name, FNM_PERIOD) == 0;
           });
  };
  bool has_changed = false;
  alignas(inotify_event) char buffer[8192];
  for (ssize_t got = 0; (got = ::read(notify_fd_, buffer, sizeof(buffer))) > 0;) {
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      // "..data" is the link that Kubernetes swaps.
      if (event->len != 0 && (matches(event->name) || std::strcmp(event->name, "..data") == 0)) has_changed = true;
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

bool Clerk::hear(Asker& asker) {
  switch (ControlSocket::hear(asker.fd, asker.command)) {
    case ControlSocket::Heard::part:
      if (nowMs() < asker.until_ms) return false;
      ::close(asker.fd);
      break;
    case ControlSocket::Heard::whole:
      serve(asker.fd, asker.command);
      break;
    case ControlSocket::Heard::nothing:
      ::close(asker.fd);
      break;
  }
  return true;
}

void Clerk::serve(int client, const std::string& command) {
  if (command == "reload") return ControlSocket::answer(client, textOf(reloadInTime()));
  if (command == "status") return ControlSocket::answer(client, reloader_.status());
  if (const auto question = questionOf(command)) return ControlSocket::answer(client, reloader_.explain(*question));
  ControlSocket::answer(client,
                        fmt::format("there is no command \"{}\": there are reload, status and explain\n", command));
}

void Clerk::run() {
  ::pthread_setname_np(::pthread_self(), "plait-clerk");
  bool has_changed = false;
  std::vector<pollfd> fds;
  while (true) {
    const bool takes_askers = socket_ && askers_.size() < most_askers;
    fds = {{wake_fds_[0], POLLIN, 0}, {takes_askers ? socket_->fd() : -1, POLLIN, 0}, {notify_fd_, POLLIN, 0}};
    int64_t wait_ms = has_changed ? settle_ms : askers_.empty() ? -1 : command_ms;
    if (reloader_.owesSweep()) wait_ms = wait_ms < 0 ? sweep_ms : std::min(wait_ms, sweep_ms);
    for (const Asker& asker : askers_) {
      fds.push_back({asker.fd, POLLIN, 0});
      wait_ms = std::min(wait_ms, std::max<int64_t>(asker.until_ms - nowMs(), 0));
    }
    const int ready = ::poll(fds.data(), fds.size(), static_cast<int>(wait_ms));
    if (ready < 0 && errno != EINTR) return;
    char bytes[64];
    while (::read(wake_fds_[0], bytes, sizeof(bytes)) > 0) {
    }
    if (is_ending_.load(std::memory_order_relaxed)) return;
    std::erase_if(askers_, [this](Asker& asker) { return hear(asker); });
    if ((fds[1].revents & POLLIN) != 0) {
      if (const int client = socket_->accept(); client >= 0) askers_.push_back({client, nowMs() + command_ms, {}});
    }
    const bool changes = (fds[2].revents & POLLIN) != 0 && hasChanged();
    if (is_asked_.load(std::memory_order_relaxed) || (has_changed && !changes)) {
      (void)reloadInTime();
      has_changed = false;
    } else {
      has_changed = has_changed || changes;
    }
    if (reloader_.owesSweep() && nowMs() >= last_reload_ms_ + sweep_ms) reloader_.sweep();
  }
}

}  // namespace plait
