// The clerk: the thread for what blocks or takes long beside the workers and the control loop. It reloads the
// configuration, on a signal, on a command or when a file has changed, and answers the admin socket.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "plait/control/reload.h"
#include "plait/net/control_socket.h"

namespace plait {

class Clerk {
 public:
  struct Options {
    std::string socket;    // the path of the admin socket; empty: none
    bool watches = false;  // the configuration and all files that it names
  };
  // References must outlive the clerk.
  Clerk(Reloader& reloader, LogSink& log) : reloader_(reloader), log_(log) {}
  Clerk(const Clerk&) = delete;
  Clerk& operator=(const Clerk&) = delete;
  ~Clerk();

  // Starts the thread. Empty, or a sentence for the operator.
  std::string start(const Options& options);
  // From any thread: reloads soon. Changes in between are merged.
  void requestReload();
  // From any thread: ends soon, after what it is about. Nothing is changed from now on.
  void requestEnd();
  void stop();

 private:
  // A client of the socket that has not given its command yet.
  struct Asker {
    int fd;
    int64_t until_ms;
    std::string command;
  };
  void run();
  // False while the asker is still to be heard.
  bool hear(Asker& asker);
  void serve(int client, const std::string& command);
  ReloadReport reloadInTime();
  void watchFiles();
  // True where a file that is watched has changed.
  bool hasChanged();
  void wake();

  Reloader& reloader_;
  LogSink& log_;
  std::optional<ControlSocket> socket_;
  std::vector<Asker> askers_;
  bool watches_ = false;
  int wake_fds_[2] = {-1, -1};
  int notify_fd_ = -1;
  std::atomic<bool> is_asked_{false};
  std::atomic<bool> is_ending_{false};
  int64_t last_reload_ms_ = 0;
  std::thread thread_;
};

}  // namespace plait
