#include "plait/control/reload.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "plait/control/check.h"
#include "plait/control/endpoint_states.h"
#include "plait/net/address.h"
#include "plait/plan/plan_bytes.h"

namespace plait {
namespace {

std::string textOf(const sockaddr_storage& address) {
  char text[address_text_size];
  return std::string(formatAddress(address, text));
}

// "3 clusters" or "cluster api"; nothing for none.
void describe(const char* what, const char* verb, const std::vector<std::string>& names,
              std::vector<std::string>& lines) {
  if (names.empty()) return;
  std::string list;
  for (size_t i = 0; i < names.size() && i < 10; ++i) list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > 10) list += fmt::format(", … {} in all", names.size());
  lines.push_back(fmt::format("{} {}: {}", what, verb, list));
}

// What was added, removed and changed between two sets of named things.
template <class T>
void compare(const char* what, const std::map<std::string, T>& before, const std::map<std::string, T>& after,
             std::vector<std::string>& lines) {
  std::vector<std::string> added;
  std::vector<std::string> removed;
  std::vector<std::string> changed;
  for (const auto& [name, value] : after) {
    const auto old = before.find(name);
    if (old == before.end()) {
      added.push_back(name);
    } else if (old->second != value) {
      changed.push_back(name);
    }
  }
  for (const auto& [name, value] : before) {
    if (!after.contains(name)) removed.push_back(name);
  }
  describe(what, "added", added, lines);
  describe(what, "removed", removed, lines);
  describe(what, "changed", changed, lines);
}

std::map<std::string, std::shared_ptr<const ClusterSpec>> clustersOf(const Plan& plan) {
  std::map<std::string, std::shared_ptr<const ClusterSpec>> clusters;
  for (const auto& cluster : plan.clusters) {
    if (cluster != nullptr) clusters[cluster->identity->name] = cluster;
  }
  return clusters;
}

bool isSame(const route::Match& a, const route::Match& b) {
  return a.path_kind == b.path_kind && a.path == b.path && a.priority == b.priority && a.hosts == b.hosts &&
         a.methods == b.methods && a.fields == b.fields && a.query == b.query;
}

// By their names: routes with another policy, or that are matched in another way, have changed.
void compareRoutes(const CompiledPlan& before, const CompiledPlan& after, std::vector<std::string>& lines) {
  std::unordered_map<std::string_view, const route::RouteSpec*> known(before.specs.size());
  for (const route::RouteSpec& spec : before.specs) known.emplace(spec.name, &spec);
  std::vector<std::string> added;
  std::vector<std::string> changed;
  for (const route::RouteSpec& spec : after.specs) {
    const auto old = known.find(spec.name);
    if (old == known.end()) {
      added.push_back(spec.name);
      continue;
    }
    if (before.plan->policies[old->second->policy] != after.plan->policies[spec.policy] ||
        !isSame(old->second->match, spec.match))
      changed.push_back(spec.name);
    known.erase(old);
  }
  std::vector<std::string> removed;
  for (const auto& [name, spec] : known) removed.emplace_back(name);
  for (auto& [verb, names] : {std::pair("added", &added), {"removed", &removed}, {"changed", &changed}}) {
    std::ranges::sort(*names);
    describe("routes", verb, *names, lines);
  }
}

// The files that a configuration names, itself among them.
std::vector<std::string> filesOf(const Config& config, const std::string& file_name) {
  std::vector<std::string> files;
  const auto add = [&](const Text& file) {
    if (!file.empty() && file.value != "-") files.push_back(file.value);
  };
  if (!file_name.empty()) files.push_back(file_name);
  for (const Text& include : config.includes) add(include);
  files.insert(files.end(), config.files.begin(), config.files.end());
  for (const ListenConfig& listen : config.listeners) {
    for (const Text* file : {&listen.cert, &listen.key, &listen.client_ca}) add(*file);
  }
  for (const CertificateConfig& one : config.certificates) {
    for (const Text* file : {&one.cert, &one.key, &one.client_ca}) add(*file);
  }
  for (const RouteConfig& route : config.routes) {
    if (route.respond) add(route.respond->file);
    for (const ErrorPageConfig& page : route.error_pages) add(page.file);
  }
  forEachBackend(config, [&](const BackendConfig& backend) {
    for (const Text* file : {&backend.ca_file, &backend.client_cert, &backend.client_key}) add(*file);
  });
  std::ranges::sort(files);
  files.erase(std::ranges::unique(files).begin(), files.end());
  return files;
}

}  // namespace

Reloader::Reloader(const Flags& flags, std::string file, Config config, LoadedConfig& loaded,
                   std::vector<ListenOptions> listeners, std::vector<std::unique_ptr<Worker>>& workers,
                   Resolver& resolver, EndpointNames& names, CertificateDates& certificate_dates,
                   std::optional<KeyClerk>& key_clerk, ReloadFigures& figures, LogSink& log)
    : flags_(flags),
      file_(std::move(file)),
      plan_bytes_(loaded.options.limits.plan_bytes),
      config_(std::move(config)),
      compiled_(std::move(loaded.compiled)),
      plan_(compiled_.plan),
      identities_(loaded.identities),
      contexts_(loaded.contexts),
      sites_(loaded.sites),
      key_(loaded.key),
      has_tls_backends_(loaded.options.has_tls_backends),
      has_tls_clients_(std::ranges::any_of(listeners, [](const ListenOptions& one) { return one.tls != nullptr; })),
      listeners_(std::move(listeners)),
      workers_(workers),
      scratches_(workers.size()),
      resolver_(resolver),
      names_(names),
      certificate_dates_(certificate_dates),
      log_(log),
      key_clerk_(key_clerk),
      figures_(figures) {
  files_ = filesOf(config_, file_);
  forgetRoutes();
  figures_.last_success_s = ::time(nullptr);
  if (sites_ != nullptr) served_by_.insert(sites_);
  for (const ListenOptions& one : listeners_) {
    if (one.tls != nullptr) served_by_.insert(one.tls);
  }
  sweep();
}

void Reloader::sweep() {
  identities_->sweep([this](const RoutePolicy& policy) {
    uint32_t holders = 0;
    for (const auto& worker : workers_) holders += worker->holders(policy);
    return holders;
  });
  named_contexts_ = 0;
  const auto isNamed = [this](const TlsContext& tls) {
    const bool is_named = &tls == sites_ ||
                          std::ranges::any_of(listeners_, [&](const ListenOptions& one) { return one.tls == &tls; }) ||
                          identities_->names(&tls);
    if (is_named) named_contexts_ += 1;
    return is_named;
  };
  const auto forget = [this](TlsContext& tls) {
    served_by_.erase(&tls);
    if (key_clerk_ && tls.certificates() != nullptr) key_clerk_->forget(*tls.certificates());
  };
  contexts_->sweep(isNamed, forget);
  figures_.tls_contexts.store(contexts_->count(), std::memory_order_relaxed);
}

// The plan has them: a configuration of many routes is larger than what is made of it.
void Reloader::forgetRoutes() {
  config_.forgetRoutes();
}

ReloadReport Reloader::refuse(std::vector<std::string> lines, Config& next) {
  // The configuration may be good once its files are there.
  files_ = filesOf(config_, file_);
  for (std::string& file : filesOf(next, file_)) files_.push_back(std::move(file));
  figures_.failures.fetch_add(1, std::memory_order_relaxed);
  figures_.last_failure_s.store(::time(nullptr), std::memory_order_relaxed);
  for (const std::string& line : lines) log_.say({LogLevel::error, "configuration", line});
  log_.say({LogLevel::error, "configuration",
            fmt::format("not reloaded: generation {} goes on", figures_.generation.load())});
  return {false, figures_.generation.load(), std::move(lines)};
}

ReloadReport Reloader::reload() {
  const ReloadReport ends{false, figures_.generation.load(), {"plait is about to end"}};
  if (is_ending_) return ends;
  Config next;
  // Reading it again could wait for ever.
  if (struct stat status{}; ::stat(file_.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
    return refuse({file_ + ": this is a pipe or a device, which cannot be read anew"}, next);
  sweep();
  LoadedConfig loaded;
  loaded.identities = identities_;
  loaded.contexts = contexts_;
  loaded.before = plan_.get();
  loaded.key = key_;
  auto mistakes = configure(flags_, file_, false, resolver_, next, loaded);
  if (mistakes.empty()) mistakes = checkNewKeys(next, loaded, sites_);
  if (!mistakes.empty()) {
    std::vector<std::string> lines;
    for (const ConfigError& mistake : mistakes) lines.push_back(mistake.text());
    return refuse(std::move(lines), next);
  }
  if (is_ending_) return ends;
  const bool has_tls_clients =
      std::ranges::any_of(loaded.options.listeners, [](const ListenOptions& one) { return one.tls != nullptr; });
  if ((loaded.options.has_tls_backends && !has_tls_backends_) || (has_tls_clients && !has_tls_clients_)) {
    return refuse(
        {fmt::format("{}: the memory for TLS is reserved at start, and at the last start {} spoke it: restart", file_,
                     has_tls_clients && !has_tls_clients_ ? "no client" : "no backend")},
        next);
  }
  if (next.listeners.size() > Server::most_listeners)
    return refuse({fmt::format("{}: there are more than {} listeners", file_, Server::most_listeners)}, next);
  if (std::string wrong = faultOfSize(loaded); !wrong.empty()) return refuse({std::move(wrong)}, next);

  const uint64_t generation = figures_.generation.load() + 1;
  loaded.compiled.plan->generation = generation;
  const Plan& plan = *loaded.compiled.plan;
  std::vector<std::unique_ptr<route::RouteScratch>> scratches(workers_.size());
  for (auto& scratch : scratches) {
    if (plan.routes) scratch = std::make_unique<route::RouteScratch>(*plan.routes);
  }
  std::vector<NextListener> listeners;
  if (std::string wrong = openListeners(next, loaded, listeners); !wrong.empty())
    return refuse({std::move(wrong)}, next);
  for (size_t i = 0; i < workers_.size(); ++i) {
    const Status prepared = workers_[i]->prepare(plan);
    if (prepared) continue;
    for (size_t k = 0; k < i; ++k) workers_[k]->undo();
    closeNew(listeners);
    return refuse({fmt::format("worker {}: {}", i, prepared.error().reason)}, next);
  }
  goOn(next, loaded);
  names_.set(endpointNames(plan));
  certificate_dates_.set(std::move(loaded.certificate_ends));
  for (size_t i = 0; i < workers_.size(); ++i) workers_[i]->commit(plan, scratches[i].get());

  std::vector<std::string> lines;
  describeChanges(next, loaded, lines);
  changeListeners(listeners, lines);
  for (const ConfigError& one : loaded.warnings) {
    log_.say({LogLevel::warning, "configuration", one.text()});
    lines.push_back("warning: " + one.text());
  }
  // The numbers of endpoints that nobody names any more are free again when the workers have let go of them.
  scratches_ = std::move(scratches);
  compiled_ = std::move(loaded.compiled);
  plan_ = compiled_.plan;
  sites_ = loaded.sites;
  // What needs a restart stays as it was, so that it is said each time.
  next.limits = config_.limits;
  next.workers = config_.workers;
  next.io = config_.io;
  next.memory_bytes = config_.memory_bytes;
  next.prefault = config_.prefault;
  next.admin = config_.admin;
  next.access_log = config_.access_log;
  config_ = std::move(next);
  files_ = filesOf(config_, file_);
  forgetRoutes();
  figures_.generation.store(generation);
  figures_.successes.fetch_add(1, std::memory_order_relaxed);
  figures_.last_success_s.store(::time(nullptr), std::memory_order_relaxed);
  log_.say({LogLevel::info, "configuration", fmt::format("reloaded: generation {}", generation)});
  for (const std::string& line : lines) log_.say({LogLevel::info, "configuration", line});
  if (owesSweep()) sweep();
  if (lines.empty()) lines.emplace_back("nothing has changed");
  return {true, generation, std::move(lines)};
}

std::string Reloader::faultOfSize(const LoadedConfig& next) const {
  const size_t bytes = bytesOfBoth(*plan_, *next.compiled.plan) + bytesOf(compiled_.specs) +
                       bytesOf(next.compiled.specs) + identities_->bytes();
  if (bytes <= plan_bytes_) return {};
  return fmt::format(
      "{}: this generation and those before take {} bytes together, more than the {} that limits.plan_bytes allows: "
      "raise it and restart",
      file_, bytes, plan_bytes_);
}

void Reloader::describeChanges(const Config& next, const LoadedConfig& loaded, std::vector<std::string>& lines) const {
  compare("clusters", clustersOf(*plan_), clustersOf(*loaded.compiled.plan), lines);
  compareRoutes(compiled_, loaded.compiled, lines);
  if (next.pool_timeouts != config_.pool_timeouts || next.server_timeouts != config_.server_timeouts)
    lines.emplace_back("timeouts changed");
  if (next.forward.text() != config_.forward.text()) lines.emplace_back("forwarding changed");
  std::vector<std::string> keys;
  const auto note = [&](bool differs, const char* key) {
    if (differs) keys.emplace_back(key);
  };
  note(next.workers != config_.workers, "server.workers");
  note(next.io != config_.io, "server.io");
  note(next.memory_bytes != config_.memory_bytes, "server.memory");
  note(next.prefault != config_.prefault, "server.prefault");
  for (const std::string& key : differentLimits(next.limits, config_.limits)) keys.push_back("limits." + key);
  note(next.admin.value != config_.admin.value, "admin.address");
  note(next.access_log.file.value != config_.access_log.file.value, "access_log.file");
  note(next.access_log.format != config_.access_log.format, "access_log.format");
  describe("needs a restart", "and keeps its value until then", keys, lines);
}

void Reloader::changeProxies(const ListenOptions& before, ListenOptions& wanted, std::vector<std::string>& lines) {
  const auto textOfProxies = [](const ListenOptions& one) { return one.proxies ? one.proxies->text() : std::string(); };
  if (textOfProxies(before) == textOfProxies(wanted)) {
    wanted.proxies = before.proxies;
    return;
  }
  for (const auto& worker : workers_) worker->setListenerProxies(wanted.address, wanted.proxies.get());
  lines.push_back(fmt::format("PROXY protocol changed: {}", textOf(wanted.address)));
}

void Reloader::changeRedirect(const ListenOptions& before, const ListenOptions& wanted,
                              std::vector<std::string>& lines) {
  if (before.redirects_https == wanted.redirects_https) return;
  for (const auto& worker : workers_) worker->setListenerRedirect(wanted.address, wanted.redirects_https);
  lines.push_back(fmt::format("{} to HTTPS: {}", wanted.redirects_https ? "redirecting" : "not redirecting any more",
                              textOf(wanted.address)));
}

std::vector<size_t> Reloader::presentListeners(const Config& next) const {
  const auto keyOf = [](const ListenConfig& one) {
    return fmt::format("{} {} {}", one.address.value, static_cast<int>(one.tls), one.only_v6);
  };
  std::multimap<std::string, size_t> known;
  for (size_t i = 0; i < config_.listeners.size(); ++i) known.emplace(keyOf(config_.listeners[i]), i);
  std::vector<size_t> present;
  for (const ListenConfig& listen : next.listeners) {
    const auto found = known.find(keyOf(listen));
    present.push_back(found == known.end() ? no_listener : found->second);
    if (found != known.end()) known.erase(found);
  }
  return present;
}

void Reloader::goOn(const Config& next, const LoadedConfig& loaded) {
  const auto take = [this](TlsContext* tls, TlsContext* before) {
    // A context that comes back is in use by the connections that it has made.
    if (tls == nullptr || !served_by_.insert(tls).second) return;
    if (before != nullptr) tls->goOnFrom(*before);
    if (tls->certificates() == nullptr) return;
    if (!key_clerk_) key_clerk_.emplace(log_);
    key_clerk_->serve(*tls->certificates());
  };
  TlsContext* before = sites_;
  for (const ListenOptions& one : listeners_) before = before == nullptr ? one.tls : before;
  take(loaded.sites, before);
  const std::vector<size_t> present = presentListeners(next);
  // Those that take another's place come first: several may share a context.
  for (size_t i = 0; i < present.size(); ++i) {
    if (present[i] != no_listener) take(loaded.options.listeners[i].tls, listeners_[present[i]].tls);
  }
  for (const ListenOptions& one : loaded.options.listeners) take(one.tls, nullptr);
}

std::string Reloader::openListeners(const Config& next, const LoadedConfig& loaded,
                                    std::vector<NextListener>& listeners) {
  const std::vector<size_t> present = presentListeners(next);
  for (size_t i = 0; i < next.listeners.size(); ++i) {
    ListenOptions wanted = loaded.options.listeners[i];
    if (const size_t same = present[i]; same != no_listener) {
      wanted.address = listeners_[same].address;
      listeners.push_back({wanted, same});
      continue;
    }
    // Beside its predecessor, which closes when the plan has come.
    for (const ListenOptions& one : listeners_)
      wanted.port.share = wanted.port.share || textOf(one.address) == textOf(wanted.address);
    for (size_t k = 0; k < workers_.size(); ++k) {
      const std::string failed = workers_[k]->openListener(wanted);
      // The others join the first, also where the kernel chose the port.
      wanted.port.share = true;
      if (failed.empty()) continue;
      while (k-- > 0) workers_[k]->closeListener(wanted.address, true);
      closeNew(listeners);
      return fmt::format("{}: {}: {}", next.listeners[i].address.place.text(), textOf(wanted.address), failed);
    }
    listeners.push_back({wanted, no_listener});
  }
  return {};
}

void Reloader::closeNew(const std::vector<NextListener>& listeners) {
  for (const NextListener& one : listeners) {
    if (one.before != no_listener) continue;
    for (const auto& worker : workers_) worker->closeListener(one.options.address, true);
  }
}

void Reloader::changeListeners(std::vector<NextListener>& listeners, std::vector<std::string>& lines) {
  std::vector<ListenOptions> next;
  std::vector<bool> is_kept(listeners_.size(), false);
  for (NextListener& one : listeners) {
    if (one.before == no_listener) {
      lines.push_back(fmt::format("listening on {}", textOf(one.options.address)));
    } else {
      is_kept[one.before] = true;
      if (one.options.tls != listeners_[one.before].tls) {
        for (const auto& worker : workers_) worker->setListenerTls(one.options.address, one.options.tls);
        lines.push_back(fmt::format("certificates changed: {}", textOf(one.options.address)));
      }
      changeProxies(listeners_[one.before], one.options, lines);
      changeRedirect(listeners_[one.before], one.options, lines);
    }
    next.push_back(one.options);
  }
  for (size_t i = 0; i < is_kept.size(); ++i) {
    if (is_kept[i]) continue;
    for (const auto& worker : workers_) worker->closeListener(listeners_[i].address);
    // A listener looks at them until it has accepted what waits.
    if (listeners_[i].proxies) closed_proxies_.push_back(listeners_[i].proxies);
    const bool goes_on = std::ranges::any_of(
        next, [&](const ListenOptions& one) { return textOf(one.address) == textOf(listeners_[i].address); });
    if (!goes_on) lines.push_back(fmt::format("not listening any more on {}", textOf(listeners_[i].address)));
  }
  listeners_ = std::move(next);
}

std::string Reloader::status() {
  std::string text = fmt::format("generation {}\n", figures_.generation.load());
  for (size_t i = 0; i < listeners_.size(); ++i) {
    const ListenTls tls = config_.listeners[i].tls;
    text += fmt::format("listener {} {}{}\n", textOf(listeners_[i].address),
                        tls == ListenTls::off  ? "plain"
                        : tls == ListenTls::on ? "tls"
                                               : "auto",
                        listeners_[i].redirects_https ? ", redirects to HTTPS" : "");
  }
  if (sites_ != nullptr) {
    const net::CertificateStore& store = *sites_->certificates();
    text += fmt::format("certificates {}\n", store.size());
  }
  const EndpointStates states(workers_, plan_->authorities.size());
  if (!compiled_.specs.empty()) text += fmt::format("routes {}\n", compiled_.specs.size());
  for (const auto& [name, cluster] : clustersOf(*plan_)) {
    text += fmt::format("cluster {}\n", name);
    for (const EndpointSpec& endpoint : cluster->endpoints) {
      text += fmt::format("  {} {}\n", endpoint.options->name, states.of(endpoint.options->number));
    }
  }
  return text;
}

std::string Reloader::explain(const Question& question) {
  // As they are bound.
  std::vector<ListenConfig> listeners = config_.listeners;
  for (size_t i = 0; i < listeners.size(); ++i) {
    listeners[i].parsed = listeners_[i].address;
    listeners[i].address.value = textOf(listeners_[i].address);
  }
  const EndpointStates states(workers_, plan_->authorities.size());
  std::string text = fmt::format("generation {}\n", figures_.generation.load());
  const std::string wrong = explainRequest({config_, listeners, *plan_, compiled_.specs, &states}, question, text);
  return wrong.empty() ? text : wrong + '\n';
}

}  // namespace plait
