// The socket over which an operator's commands reach a running process: a Unix socket that only root and the process's
// own user may use. Blocking, for the clerk's thread and for the command line; nothing here is on a request's way.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace plait {

class ControlSocket {
 public:
  ControlSocket() = default;
  ControlSocket(ControlSocket&& other) noexcept;
  ControlSocket& operator=(ControlSocket&& other) noexcept;
  // Removes the file.
  ~ControlSocket();

  // Listens at `path`, with mode 0600. A socket that nobody listens at any more is replaced, under a lock beside it. An
  // error is a sentence for the operator.
  static std::expected<ControlSocket, std::string> open(const std::string& path);

  // For poll().
  int fd() const { return fd_; }
  // A client that may give commands, which is the caller's to close; -1 where there is none.
  int accept();
  enum class Heard : uint8_t { part, whole, nothing };
  // Appends what the client has sent, without waiting: a part of its line, or the whole without the line break. Nothing
  // more comes from one that has left, or whose line is too long.
  static Heard hear(int client, std::string& command);
  // Sends the answer and ends the connection. A client that does not take it within some seconds gets no more.
  static void answer(int client, std::string_view text);

  // The other side: sends `command` and returns the whole answer, or a sentence why there is none.
  static std::expected<std::string, std::string> ask(const std::string& path, std::string_view command);

 private:
  int fd_ = -1;
  int lock_fd_ = -1;
  std::string path_;
};

}  // namespace plait
