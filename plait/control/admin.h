// The handler that answers at the admin address (control/control_thread.h).
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "plait/control/access_log.h"
#include "plait/control/endpoint_names.h"
#include "plait/control/metrics.h"
#include "plait/control/reload_figures.h"
#include "plait/io/sync.h"
#include "plait/proxy/worker.h"

namespace plait {

class AdminHandler final : public Handler {
 public:
  // References must outlive the handler; `log` may be null.
  AdminHandler(std::vector<std::unique_ptr<Worker>>& workers, const EndpointNames& names, const ReloadFigures& reloads,
               const CertificateDates& dates, Mailbox& mailbox, const std::atomic<bool>& is_draining,
               const AccessLog* log, const std::atomic<uint64_t>& failed_reopenings, BlockSlab& stream_blocks,
               http::HeaderSlab& headers)
      : workers_(workers),
        names_(names),
        reloads_(reloads),
        dates_(dates),
        mailbox_(mailbox),
        is_draining_(is_draining),
        log_(log),
        failed_reopenings_(failed_reopenings),
        stream_blocks_(stream_blocks),
        headers_(headers),
        snapshots_(workers.size()) {}

  Task<void> handle(Exchange& exchange, Io& io) override;

 private:
  // Asks every worker in turn; snapshots_ are theirs while the mutex is held.
  Task<bool> collect(Io& io);
  Task<void> answer(Exchange& exchange, uint16_t status, std::string_view type, std::string_view text, Io& io);
  bool isReady() const;

  std::vector<std::unique_ptr<Worker>>& workers_;
  const EndpointNames& names_;
  const ReloadFigures& reloads_;
  const CertificateDates& dates_;
  std::shared_ptr<const EndpointNames::Names> backends_;  // those of the last collect()
  Mailbox& mailbox_;
  const std::atomic<bool>& is_draining_;
  const AccessLog* log_;
  const std::atomic<uint64_t>& failed_reopenings_;
  BlockSlab& stream_blocks_;
  http::HeaderSlab& headers_;
  IoMutex mutex_;
  std::vector<WorkerSnapshot> snapshots_;
};

}  // namespace plait
