// The control thread's half of the access log: records of the workers' rings become lines and are written in batches.
// Everything that came from outside is escaped, so that no client can forge a line.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "plait/config/config.h"
#include "plait/proxy/access_ring.h"

namespace plait {

// Appends one line to `out`. `wall_offset_ns` added to a record's times gives nanoseconds since 1970; `backends` are
// the names by index.
//
// combined: CLIENT - - [TIME] "METHOD PATH PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT" SECONDS "BACKEND" RETRIES
// CLASS GRPC-STATUS "CAUSE" "REAL-CLIENT" REQUEST-ID
void formatCombined(const AccessRecord& record, int64_t wall_offset_ns, std::span<const std::string> backends,
                    std::string& out);
// One JSON object. Bytes that are not ASCII are taken as Latin-1, so that every line is valid whatever a client sent.
void formatJson(const AccessRecord& record, int64_t wall_offset_ns, std::span<const std::string> backends,
                std::string& out);

// The file and what is written to it. For the control thread alone.
class AccessLog {
 public:
  AccessLog(std::string path, LogFormat format) : path_(std::move(path)), format_(format) {}
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  ~AccessLog();

  // The reason for which open() could not open that file, found without making one: the same sentence, or an empty one.
  static std::string mistake(const std::string& path);
  // Opens the file, or opens it anew after it was moved away; what was open stays so when that fails. Empty on success,
  // else a sentence for the operator.
  std::string open();
  // The names of endpoints by their numbers.
  void setBackends(std::vector<std::string> backends) { backends_ = std::move(backends); }
  // Writes everything that is in the ring.
  void drain(AccessRing& ring, int64_t wall_offset_ns);
  // Lines that could not be written: the disk is full, say; and the reason for the last one, an errno.
  uint64_t failedLines() const { return failed_lines_; }
  int failedBecause() const { return failed_because_; }
  // The last write has failed.
  bool isFailing() const { return is_failing_; }
  const std::string& path() const { return path_; }

 private:
  void flush();

  std::string path_;
  LogFormat format_;
  std::vector<std::string> backends_;
  std::string batch_;
  uint64_t failed_lines_ = 0;
  int failed_because_ = 0;
  bool is_failing_ = false;
  int fd_ = -1;
};

}  // namespace plait
