// Changes the plan of a running process: reads the configuration again, builds the next generation, and gives it to all
// workers or to none. For one thread, which it blocks; the clerk's (clerk.h).
//
//   read → compile → prepare at every worker → commit at every worker
//                        └── one refuses: undo at every worker, and the present generation goes on
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "plait/base/log.h"
#include "plait/control/endpoint_names.h"
#include "plait/control/key_clerk.h"
#include "plait/control/load.h"
#include "plait/control/reload_figures.h"
#include "plait/proxy/worker.h"

namespace plait {

struct ReloadReport {
  bool is_done = false;
  uint64_t generation = 0;  // that all workers have now
  // What changed, one sentence each; what keeps its old value until a restart; or every mistake with its place.
  std::vector<std::string> lines;
};

class Reloader {
 public:
  // `config` and `loaded` are of the present generation, which the workers have; `loaded` is moved from. `listeners`
  // are bound as the workers have them. References must outlive the object.
  Reloader(const Flags& flags, std::string file, Config config, LoadedConfig& loaded,
           std::vector<ListenOptions> listeners, std::vector<std::unique_ptr<Worker>>& workers, Resolver& resolver,
           EndpointNames& names, CertificateDates& certificate_dates, ReloadFigures& figures, LogSink& log);
  Reloader(const Reloader&) = delete;
  Reloader& operator=(const Reloader&) = delete;

  ReloadReport reload();
  // The generation, listeners, clusters and endpoints with their states, for people.
  std::string status();
  // The files that the configuration names, itself among them.
  std::vector<std::string> files() const;

 private:
  static constexpr size_t no_listener = SIZE_MAX;

  ReloadReport refuse(std::vector<std::string> lines);
  void describeChanges(const Config& next, const LoadedConfig& loaded, std::vector<std::string>& lines) const;
  // For each listener of `next` its place among the present ones; no_listener for a new one.
  std::vector<size_t> presentListeners(const Config& next) const;
  // Before clients get the new contexts: their handshakes go on with tickets and keys of those before.
  void goOn(const Config& next, const LoadedConfig& loaded);
  void changeListeners(const Config& next, const LoadedConfig& loaded, std::vector<std::string>& lines);
  // A listener that is kept hears of other balancers in front of it.
  void changeProxies(const ListenOptions& before, ListenOptions& wanted, std::vector<std::string>& lines);

  const Flags flags_;
  const std::string file_;
  Config config_;
  CompiledPlan compiled_;
  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<PlanIdentities> identities_;
  std::shared_ptr<TlsContexts> contexts_;
  TlsContext* sites_;
  std::optional<SipKey> key_;
  bool has_tls_backends_;
  bool has_tls_clients_;
  std::vector<ListenOptions> listeners_;                               // beside config_.listeners
  std::vector<std::shared_ptr<const TrustedProxies>> closed_proxies_;  // of those that were removed
  std::vector<std::unique_ptr<Worker>>& workers_;
  // By worker, of the present generation; null where it has no routes.
  std::vector<std::unique_ptr<route::RouteScratch>> scratches_;
  Resolver& resolver_;
  EndpointNames& names_;
  CertificateDates& certificate_dates_;
  LogSink& log_;
  std::vector<std::unique_ptr<KeyClerk>> key_clerks_;
  std::set<const TlsContext*> served_by_;  // the contexts that clients have had, ever
  ReloadFigures& figures_;
};

}  // namespace plait
