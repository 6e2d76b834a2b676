// Changes the plan of a running process: reads the configuration again, builds the next generation, and gives it to all
// workers or to none. For one thread, which it blocks; the clerk's (clerk.h).
//
//   read → compile → prepare at every worker → commit at every worker
//                        └── one refuses: undo at every worker, and the present generation goes on
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plait/base/log.h"
#include "plait/control/endpoint_names.h"
#include "plait/control/explain.h"
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
  // are bound as the workers have them. `key_clerk` is made where a generation first needs it. References must outlive
  // the object.
  Reloader(const Flags& flags, std::string file, Config config, LoadedConfig& loaded,
           std::vector<ListenOptions> listeners, std::vector<std::unique_ptr<Worker>>& workers, Resolver& resolver,
           EndpointNames& names, CertificateDates& certificate_dates, std::optional<KeyClerk>& key_clerk,
           ReloadFigures& figures, LogSink& log);
  Reloader(const Reloader&) = delete;
  Reloader& operator=(const Reloader&) = delete;

  ReloadReport reload();
  // From any thread: workers are about to end, and nothing is changed any more.
  void end() { is_ending_.store(true, std::memory_order_relaxed); }
  // Frees what only generations before the present one have named, as far as nothing uses it any more: numbers and TLS
  // contexts.
  void sweep();
  // There is something that a later sweep() may free.
  bool owesSweep() const { return contexts_->count() > named_contexts_; }
  // The generation, listeners, clusters and endpoints with their states, for people.
  std::string status();
  // The present treatment of one request, as a text for people; or the mistake in the question.
  std::string explain(const Question& question);
  // The files that the configuration names, itself among them, patterns of those that it includes, and those of one
  // that was refused: it may be good once they are there.
  const std::vector<std::string>& files() const { return files_; }

 private:
  static constexpr size_t no_listener = SIZE_MAX;
  struct NextListener {
    ListenOptions options;
    size_t before;  // its place in listeners_; no_listener: it is new
  };

  void forgetRoutes();
  ReloadReport refuse(std::vector<std::string> lines, Config& next);
  // A sentence where this generation and the present one take more than they may.
  std::string faultOfSize(const LoadedConfig& next) const;
  void describeChanges(const Config& next, const LoadedConfig& loaded, std::vector<std::string>& lines) const;
  // For each listener of `next` its place among the present ones; no_listener for a new one.
  std::vector<size_t> presentListeners(const Config& next) const;
  // Before clients get the new contexts: their handshakes go on with tickets and keys of those before.
  void goOn(const Config& next, const LoadedConfig& loaded);
  // Opens the new ones at all workers. Where one fails, the sentence that says so, and none is open.
  std::string openListeners(const Config& next, const LoadedConfig& loaded, std::vector<NextListener>& listeners);
  void closeNew(const std::vector<NextListener>& listeners);
  // Those that are named no more close, and others have their new certificates and balancers.
  void changeListeners(std::vector<NextListener>& listeners, std::vector<std::string>& lines);
  void changeProxies(const ListenOptions& before, ListenOptions& wanted, std::vector<std::string>& lines);
  void changeRedirect(const ListenOptions& before, const ListenOptions& wanted, std::vector<std::string>& lines);

  const Flags flags_;
  const std::string file_;
  const uint32_t plan_bytes_;  // that all generations may take together
  Config config_;              // without routes and clusters, which the plan has
  std::vector<std::string> files_;
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
  std::optional<KeyClerk>& key_clerk_;
  std::set<const TlsContext*> served_by_;  // the contexts that clients have had, and that are there
  size_t named_contexts_ = 0;              // by the present generation
  ReloadFigures& figures_;
  std::atomic<bool> is_ending_{false};
};

}  // namespace plait
