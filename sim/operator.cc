#include "sim/operator.h"

#include <algorithm>
#include <numeric>

#include "plait/http/grpc.h"
#include "sim/world.h"

namespace plait::sim {
namespace {

constexpr const char* actor_name = "operator";
// A request whose head left in time has come by then, over any link that does not stall.
constexpr TimeNs gone_ns = 15 * ns_per_s;
// Limits that are counted and never met.
constexpr uint32_t plenty = 100'000;
constexpr int64_t long_total_ms = 24 * 3600 * 1000;

std::string nameOfCluster(uint32_t cluster) {
  return "cluster-" + std::to_string(cluster);
}

std::string textOf(const std::string& text) {
  return text + "\n";
}
std::string textOf(int64_t number) {
  return std::to_string(number) + "\n";
}

template <class T>
bool has(const std::vector<T>& all, const T& one) {
  return std::ranges::find(all, one) != all.end();
}

// What a route has by itself, of sizes for which a connection has room at once or has not.
const std::string& storedText(uint32_t variant) {
  static const std::string texts[] = {"gone\n", std::string(5000, 's'), std::string(30'000, 'S'), ""};
  return texts[variant];
}
constexpr uint32_t text_count = 3;

std::string typeOf(uint32_t variant) {
  return "text/x-stored-" + std::to_string(variant);
}

// Of a redirect: to another host, below another path, or to the same one by another scheme.
std::string locationOf(const Plan& plan, uint32_t variant) {
  const std::string path = plan.path();
  return variant == 0 ? "https://elsewhere.test/moved" + path.substr(path.find('/', 1))
                      : "ftp://" + plan.authority() + path;
}

}  // namespace

Operator::Operator(Simulation& simulation, uint64_t seed, WorkerOptions& options, Listeners& listeners,
                   std::vector<BackendOptions> backends, int64_t response_head_ms, uint32_t max_body, bool has_time)
    : sim(simulation),
      listeners_(listeners),
      random_(seed ^ 0x0be7a702),
      backends_(std::move(backends)),
      pool_timeouts_(options.pool_timeouts),
      server_timeouts_(options.server_timeouts),
      response_head_ms_(response_head_ms) {
  const auto count = static_cast<uint32_t>(backends_.size());
  cluster_count_ = between(1, 4);
  constexpr uint32_t gaps_ms[] = {50, 300, 1500, 4000};
  most_gap_ms_ = has_time ? 200'000 : gaps_ms[below(std::size(gaps_ms))];
  // So few places that a reload may find none now and then: an endpoint that leaves may keep its own for a while.
  endpoint_places_ = options.limits.endpoints = std::max(count + between(1, 2 * count), cluster_count_ + 1);
  const uint32_t sites = between(1, 4);
  policy_places_ = sites + (has_time ? 100 : between(1, 8));
  identities_.emplace(endpoint_places_, policy_places_);
  has_answers_ = !has_time && oneIn(2);
  while (texts_ < text_count && storedText(texts_).size() <= max_body) texts_ += 1;

  first_.clusters.resize(cluster_count_);
  first_.routes.resize(sites);
  first_.pool_timeouts = pool_timeouts_;
  first_.server_timeouts = server_timeouts_;
  first_.listeners = listeners_.first();
  for (uint32_t i = 0; i < cluster_count_; ++i) {
    if (i == 0 || !oneIn(4)) drawCluster(first_.clusters[i].emplace());
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (i == 0 || !oneIn(4)) place(first_, i);
  }
  for (RouteSetting& route : first_.routes) {
    drawSides(route, first_);
    drawRoute(route);
  }
  mend(first_);
  present_ = planOf(first_);
  PLAIT_ASSERT(present_ != nullptr);
  know(*present_);
  options.plan = present_;
}

TimeNs Operator::delay() {
  switch (below(4)) {
    case 0:
      return 0;
    case 1:
      return between(50, 1500) * ns_per_ms;
    default:
      return between(1, 20'000) * ns_per_us;
  }
}

// -- what is configured

void Operator::drawCluster(ClusterSetting& cluster) {
  cluster.connections = oneIn(3) && !sim.faults.exists(Fault::client_holds) ? between(2, 8) : 0;
  cluster.has_timeouts = oneIn(3);
  cluster.connect_ms = oneIn(2) ? pool_timeouts_.connect_ms : pool_timeouts_.connect_ms + between(1, 1000);
  cluster.queue_ms = pool_timeouts_.queue_ms + (oneIn(2) ? between(1, 1000) : 0);
  cluster.response_head_ms = response_head_ms_ + (oneIn(2) ? between(1, 1000) : 0);
  cluster.most_requests = oneIn(3) ? plenty + below(10) : 0;
  cluster.most_waiting = oneIn(3) ? std::optional<uint32_t>(plenty + below(10)) : std::nullopt;
  if (isGentle()) return;
  if (oneIn(3)) cluster.queue_ms = between(100, 5000);
  if (oneIn(3)) cluster.response_head_ms = between(500, 10'000);
  if (oneIn(4)) cluster.most_requests = between(1, 20);
  if (oneIn(4)) cluster.most_waiting = below(4);
}

void Operator::drawRoute(RouteSetting& route) {
  route.key = oneIn(3) ? SplitKey::cookie : oneIn(4) ? SplitKey::client_address : SplitKey::none;
  route.response_head_ms = oneIn(2) ? 0 : response_head_ms_ + between(1, 1000);
  route.idle_ms = 0;
  route.total_ms = oneIn(2) ? 0 : long_total_ms + between(1, 1000);
  route.most_retries = std::nullopt;
  route.repeats_unknown = true;
  route.most_requests = oneIn(3) ? plenty + below(10) : 0;
  route.denies = false;
  route.changes_fields = oneIn(4);
  route.exists = true;
  route.action = RoutePolicy::Action::forward;
  if (has_answers_ && oneIn(4)) {
    const bool redirects = oneIn(2);
    constexpr uint16_t moved[] = {301, 302, 303, 307, 308};
    constexpr uint16_t stored[] = {200, 404, 410, 503};
    route.action = redirects ? RoutePolicy::Action::redirect : RoutePolicy::Action::respond;
    route.status = redirects ? moved[below(5)] : stored[below(4)];
    route.variant = below(redirects ? 2 : texts_);
  }
  if (isGentle()) return;
  if (oneIn(4)) route.response_head_ms = between(300, 10'000);
  if (oneIn(4)) route.idle_ms = between(600, 5000);
  if (oneIn(4)) route.total_ms = between(200, 10'000);
  if (oneIn(4)) route.most_retries = below(3);
  route.repeats_unknown = !oneIn(4);
  if (oneIn(4)) route.most_requests = between(1, 20);
  route.denies = oneIn(12);
  route.exists = !oneIn(8);
}

// To one cluster, or to several by weight. A side may have no weight, and then gets nothing.
void Operator::drawSides(RouteSetting& route, const Setting& setting) {
  std::vector<uint32_t> there;
  for (uint32_t i = 0; i < cluster_count_; ++i) {
    if (setting.clusters[i]) there.push_back(i);
  }
  route.sides.clear();
  for (uint32_t i = oneIn(3) ? between(1, 3) : 1; i != 0 && !there.empty(); --i) {
    const uint32_t at = below(static_cast<uint32_t>(there.size()));
    route.sides.push_back({there[at], oneIn(4) ? 0 : between(1, 10)});
    there.erase(there.begin() + at);
  }
}

// Each backend is in one cluster at a time, so that it knows which one a request that it gets was for.
void Operator::place(Setting& setting, uint32_t backend) {
  std::vector<uint32_t> there;
  for (uint32_t i = 0; i < cluster_count_; ++i) {
    if (!setting.clusters[i]) continue;
    there.push_back(i);
    std::erase(setting.clusters[i]->backends, backend);
  }
  if (!there.empty()) setting.clusters[there[below(static_cast<uint32_t>(there.size()))]]->backends.push_back(backend);
}

void Operator::changeCluster(Setting& setting) {
  const uint32_t number = below(cluster_count_);
  std::optional<ClusterSetting>& cluster = setting.clusters[number];
  if (!cluster) {
    drawCluster(cluster.emplace());
    place(setting, below(static_cast<uint32_t>(backends_.size())));
    return;
  }
  if (!oneIn(3)) {
    const std::vector<uint32_t> backends = cluster->backends;
    drawCluster(*cluster);
    return;
  }
  // A cluster that goes: no route leads there any more.
  if (std::ranges::count_if(setting.clusters, [](const auto& one) { return one.has_value(); }) == 1) return;
  cluster.reset();
  for (RouteSetting& route : setting.routes) {
    std::erase_if(route.sides, [number](const Side& side) { return side.cluster == number; });
    if (route.sides.empty()) drawSides(route, setting);
  }
}

void Operator::changeRoute(RouteSetting& route, const Setting& setting) {
  switch (below(3)) {
    case 0:
      return drawSides(route, setting);
    case 1:
      for (Side& side : route.sides) side.weight = between(1, 10);
      return;
    default:
      return drawRoute(route);
  }
}

void Operator::change(Setting& setting) {
  const auto count = static_cast<uint32_t>(backends_.size());
  // Now and then nothing, as when a file was saved again.
  for (uint32_t i = below(oneIn(4) ? 12 : 4); i != 0; --i) {
    switch (below(10)) {
      case 8:
      case 9:
        listeners_.draw(setting.listeners);
        break;
      case 0:
      case 1:
      case 2:
        place(setting, below(count));
        break;
      case 3: {
        const uint32_t backend = below(count);
        for (auto& cluster : setting.clusters) {
          if (cluster) std::erase(cluster->backends, backend);
        }
        break;
      }
      case 4:
        changeCluster(setting);
        break;
      case 5:
      case 6:
        changeRoute(setting.routes[below(sites())], setting);
        break;
      default:
        setting.has_routes = !oneIn(4);
        setting.pool_timeouts = pool_timeouts_;
        setting.pool_timeouts.max_age_ms += below(1000);
        setting.server_timeouts = server_timeouts_;
        setting.server_timeouts.client_idle_ms += below(1000);
        if (!isGentle()) setting.pool_timeouts.idle_ms = between(50, 90'000);
    }
  }
  mend(setting);
}

// What has to be so wherever nothing may go wrong, and what has to be so always.
void Operator::mend(Setting& setting) {
  const bool is_gentle = isGentle();
  const auto isUsable = [&](uint32_t cluster) {
    return setting.clusters[cluster] && (!is_gentle || !setting.clusters[cluster]->backends.empty());
  };
  uint32_t usable = 0;
  while (usable < cluster_count_ && !isUsable(usable)) usable += 1;
  if (usable == cluster_count_) {
    usable = 0;
    while (!setting.clusters[usable]) usable += 1;
    setting.clusters[usable]->backends.push_back(below(static_cast<uint32_t>(backends_.size())));
  }
  if (!isUsable(setting.only_cluster)) setting.only_cluster = usable;
  for (RouteSetting& route : setting.routes) {
    std::erase_if(route.sides, [&](const Side& side) { return !isUsable(side.cluster); });
    if (route.sides.empty()) route.sides.push_back({usable, 1});
    if (std::ranges::all_of(route.sides, [](const Side& side) { return side.weight == 0; }))
      route.sides.back().weight = 1;
    const bool is_tight = !route.exists || route.denies || route.idle_ms != 0 || route.most_retries ||
                          !route.repeats_unknown || (route.most_requests != 0 && route.most_requests < plenty) ||
                          (route.total_ms != 0 && route.total_ms < long_total_ms) ||
                          (route.response_head_ms != 0 && route.response_head_ms < response_head_ms_);
    if (is_gentle && is_tight) drawRoute(route);
  }
  for (auto& cluster : setting.clusters) {
    if (!is_gentle || !cluster) continue;
    const bool is_tight = cluster->queue_ms < pool_timeouts_.queue_ms ||
                          cluster->response_head_ms < response_head_ms_ ||
                          (cluster->most_requests != 0 && cluster->most_requests < plenty) ||
                          (cluster->most_waiting && *cluster->most_waiting < plenty);
    if (!is_tight) continue;
    drawCluster(*cluster);
  }
  if (is_gentle) setting.pool_timeouts.idle_ms = pool_timeouts_.idle_ms;
}

std::shared_ptr<const RoutePolicy> Operator::policyOf(const Setting& setting, size_t site) {
  const RouteSetting& route = setting.routes[site];
  auto made = std::make_shared<RoutePolicy>();
  made->name = "route-" + std::to_string(site);
  std::string key = textOf(made->name);
  uint32_t upto = 0;
  for (const Side& side : route.sides) {
    upto += side.weight;
    const auto identity = identities_->cluster(nameOfCluster(side.cluster));
    if (identity == nullptr) return nullptr;
    made->sides.push_back({identity, upto});
    key += textOf(side.cluster) + textOf(upto);
  }
  made->split_key = route.key;
  made->split_name = "session";
  made->response_head_ms = route.response_head_ms;
  made->idle_ms = route.idle_ms;
  made->total_ms = route.total_ms;
  made->most_retries = route.most_retries;
  made->repeats_unknown = route.repeats_unknown;
  made->most_requests = route.most_requests;
  made->action = route.action;
  if (route.action != RoutePolicy::Action::forward) made->status = route.status;
  if (route.action == RoutePolicy::Action::respond) made->body = {typeOf(route.variant), storedText(route.variant)};
  if (route.action == RoutePolicy::Action::redirect) {
    made->redirect_scheme = route.variant == 0 ? "https" : "ftp";
    made->rewrites_prefix = route.variant == 0;
    if (route.variant == 0) made->redirect_host = "elsewhere.test";
    if (route.variant == 0) made->redirect_path = "/moved";
  }
  if (route.denies) PLAIT_ASSERT(made->deny.add("10.0.0.0/14").empty());
  if (route.changes_fields) {
    // One with the client's address, and one that is longer than a field may become, which is left out.
    for (const auto& [name, value] : {std::pair<const char*, std::string>("x-edge", "${client_address}"),
                                      {"x-over", std::string(60'000, 'o') + "${host}"}}) {
      route::FieldChange change;
      change.name = name;
      PLAIT_ASSERT(change.value.parse(value).empty());
      made->request_fields.changes.push_back(change);
      made->response_fields.changes.push_back(std::move(change));
    }
  }
  for (const int64_t number : {static_cast<int64_t>(route.key), route.response_head_ms, route.idle_ms, route.total_ms,
                               route.most_retries ? int64_t{*route.most_retries} : -1, int64_t{route.repeats_unknown},
                               int64_t{route.most_requests}, int64_t{route.denies}, int64_t{route.changes_fields},
                               static_cast<int64_t>(route.action), int64_t{route.status}, int64_t{route.variant}})
    key += textOf(number);
  return identities_->policy(key, [&made] { return made; });
}

// Null where some place is missing: it is refused as a mistake in the file is, and no worker hears of it.
std::shared_ptr<plait::Plan> Operator::planOf(const Setting& setting) {
  auto plan = std::make_shared<plait::Plan>();
  plan->generation = numbered_;
  plan->pool_timeouts = setting.pool_timeouts;
  plan->server_timeouts = setting.server_timeouts;
  for (uint32_t number = 0; number < cluster_count_; ++number) {
    if (!setting.clusters[number]) continue;
    const ClusterSetting& cluster = *setting.clusters[number];
    auto spec = std::make_shared<ClusterSpec>();
    spec->identity = identities_->cluster(nameOfCluster(number));
    if (spec->identity == nullptr) return nullptr;
    spec->queue_ms = cluster.queue_ms;
    spec->response_head_ms = cluster.response_head_ms;
    spec->most_requests = cluster.most_requests;
    spec->most_waiting = cluster.most_waiting;
    for (const uint32_t backend : cluster.backends) {
      BackendOptions options = backends_[backend];
      options.name = nameOfCluster(number) + "/" + options.name;
      options.connections = cluster.connections;
      if (cluster.has_timeouts) {
        options.timeouts = setting.pool_timeouts;
        options.timeouts->connect_ms = cluster.connect_ms;
      }
      auto endpoint = identities_->endpoint(nameOfCluster(number), options);
      if (endpoint == nullptr) return nullptr;
      const uint32_t place = endpoint->number;
      if (plan->authorities.size() <= place) plan->authorities.resize(place + 1);
      plan->authorities[place] = {"", options.host + ":9000"};
      spec->endpoints.push_back({std::move(endpoint), plan->authorities[place]});
    }
    const uint32_t place = spec->identity->number;
    if (plan->clusters.size() <= place) plan->clusters.resize(place + 1);
    if (number == setting.only_cluster) plan->only_cluster = place;
    const bool is_known = present_ != nullptr && place < present_->clusters.size() && present_->clusters[place];
    plan->clusters[place] =
        is_known && *present_->clusters[place] == *spec ? present_->clusters[place] : std::move(spec);
  }
  if (!setting.has_routes) return plan;
  std::vector<route::RouteSpec> specs;
  for (size_t site = 0; site < setting.routes.size(); ++site) {
    if (!setting.routes[site].exists) continue;
    auto policy = policyOf(setting, site);
    if (policy == nullptr) return nullptr;
    route::RouteSpec& spec = specs.emplace_back();
    spec.name = policy->name;
    spec.match.path = "/s" + std::to_string(site + 1);
    spec.policy = static_cast<uint32_t>(plan->policies.size());
    plan->policies.push_back(std::move(policy));
  }
  auto built =
      route::RouteTable::build(specs, {random_.next(), 1}, present_ == nullptr ? nullptr : present_->routes.get());
  PLAIT_ASSERT(built.mistakes.empty());
  plan->routes = std::move(built.table);
  return plan;
}

// -- one reload

void Operator::start(std::vector<std::unique_ptr<SimWorker>>& workers) {
  workers_ = &workers;
  scratches_.resize(workers.size());
  generations_.push_back({1, first_, std::vector<TimeNs>(workers.size(), 0)});
  beginAfter(between(1, 1500) * ns_per_ms);
}

void Operator::resume() {
  is_paused_ = false;
  most_gap_ms_ = std::min(most_gap_ms_, 300u);
  later();
}

void Operator::hurry() {
  most_gap_ms_ = 20;
  resume();
}

void Operator::later() {
  if (is_paused_ || isBusy()) return;
  // At once, in the turn in which the last worker has taken the last one.
  if (oneIn(4)) return begin();
  beginAfter(between(1, most_gap_ms_ * 1000) * ns_per_us);
}

// Instead of what was to begin at another time.
void Operator::beginAfter(TimeNs delay_ns) {
  sim.after(delay_ns, [this, number = ++scheduled_] {
    if (number == scheduled_) begin();
  });
}

void Operator::begin() {
  if (is_paused_ || isBusy()) return;
  if (std::ranges::all_of(*workers_, [](const auto& worker) { return worker->isDrained(); })) return;
  sweep();
  next_setting_ = generations_.back().setting;
  is_settling_ = sim.faults.areOver();
  change(next_setting_);
  numbered_ += 1;
  next_ = planOf(next_setting_);
  if (next_ == nullptr) {
    sim.say(actor_name, "has no number left for what is new");
    return beginAfter(between(1, 300) * ns_per_ms);
  }
  sim.say(actor_name, "publishes generation %llu", static_cast<unsigned long long>(next_->generation));
  know(*next_);
  const auto count = static_cast<uint32_t>(workers_->size());
  next_scratches_.clear();
  next_scratches_.resize(count);
  for (auto& scratch : next_scratches_) {
    if (next_->routes) scratch = std::make_unique<route::RouteScratch>(*next_->routes);
  }
  is_prepared_.assign(count, false);
  awaited_ = count;
  has_failed_ = false;
  listeners_.begin(next_setting_.listeners);
  crowded_ = oneIn(6) ? below(count) : UINT32_MAX;
  places_left_ = below(3);
  for (uint32_t i = 0; i < count; ++i) {
    give(i, [this, i] {
      SimWorker& worker = *(*workers_)[i];
      if (!listeners_.open(worker, next_setting_.listeners))
        return onPrepared(i, fail(backendError(ErrorCode::connect_failed, "a port cannot be had")));
      if (crowded_ == i) worker.crowd(places_left_);
      const Status prepared = worker.prepare(*next_);
      if (crowded_ == i) worker.uncrowd();
      if (!prepared) listeners_.takeBack(worker, next_setting_.listeners);
      onPrepared(i, prepared);
    });
  }
}

// Each worker gets its orders at a moment of its own.
void Operator::give(uint32_t worker, std::function<void()> order) {
  const TimeNs delay_ns = delay();
  if (delay_ns == 0) return (*workers_)[worker]->order(std::move(order));
  sim.after(delay_ns, [this, worker, order = std::move(order)] { (*workers_)[worker]->order(order); });
}

void Operator::onPrepared(uint32_t worker, const Status& prepared) {
  is_prepared_[worker] = prepared.has_value();
  has_failed_ = has_failed_ || !prepared;
  if (!prepared) sim.say(actor_name, "hears from worker %u: %s", worker, prepared.error().reason);
  awaited_ -= 1;
  if (awaited_ != 0) return;
  // It may be held back.
  const TimeNs hold_ns = oneIn(2) ? 0 : delay();
  if (hold_ns == 0) return decide();
  sim.after(hold_ns, [this] { decide(); });
}

void Operator::decide() {
  // Something else may be missing, a port say.
  if (has_failed_ || oneIn(8)) return undoAll();
  commitAll();
}

void Operator::undoAll() {
  sim.say(actor_name, "takes it back");
  awaited_ = 1;
  for (uint32_t i = 0; i < workers_->size(); ++i) {
    if (!is_prepared_[i]) continue;
    awaited_ += 1;
    give(i, [this, i] {
      (*workers_)[i]->undo();
      listeners_.takeBack(*(*workers_)[i], next_setting_.listeners);
      onUndone();
    });
  }
  onUndone();
}

void Operator::onUndone() {
  awaited_ -= 1;
  if (awaited_ != 0) return;
  noteFreed("before a plan was given up");
  listeners_.giveUp();
  next_ = nullptr;
  next_scratches_.clear();
  end();
}

void Operator::commitAll() {
  const auto count = static_cast<uint32_t>(workers_->size());
  generations_.push_back({next_->generation, next_setting_, std::vector<TimeNs>(count, never_ns)});
  awaited_ = count;
  for (uint32_t i = 0; i < count; ++i) {
    give(i, [this, i] {
      SimWorker& worker = *(*workers_)[i];
      // It counts for requests that come in the same moment as well.
      generations_.back().since_ns[i] = sim.now();
      worker.commit(*next_, next_scratches_[i].get());
      onCommitted(i);
    });
  }
}

void Operator::onCommitted(uint32_t) {
  awaited_ -= 1;
  if (awaited_ != 0) return;
  sim.say(actor_name, "has published generation %llu", static_cast<unsigned long long>(next_->generation));
  noteFreed("while a generation was taken");
  present_ = std::move(next_);
  scratches_ = std::move(next_scratches_);
  next_scratches_.clear();
  is_settled_ = is_settled_ || is_settling_;
  changeListeners();
}

// Clients may come to the new ones; the others are changed, or close, at each worker.
void Operator::changeListeners() {
  listeners_.publish(next_setting_.listeners);
  const auto count = static_cast<uint32_t>(workers_->size());
  is_changing_listeners_ = true;
  awaited_ = count;
  for (uint32_t i = 0; i < count; ++i) {
    give(i, [this, i] {
      listeners_.change(*(*workers_)[i], next_setting_.listeners);
      awaited_ -= 1;
      if (awaited_ == 0) finish();
    });
  }
}

void Operator::finish() {
  is_changing_listeners_ = false;
  listeners_.end();
  const bool are_all_there =
      std::ranges::none_of(*workers_, [](const auto& worker) { return worker->isDrained() || worker->isTold(); });
  if (are_all_there) listeners_.checkOpen(workers_->size());
  end();
}

void Operator::end() {
  checkAll();
  // What frees objects is the operator's doing up to here.
  noteFreed("");
  later();
}

// All workers have the same generation, and the endpoints of no other.
void Operator::checkAll() {
  for (const auto& worker : *workers_) {
    if (!worker->isDrained() && !worker->isTold()) worker->checkPlan(*present_);
  }
}

// -- whose numbers are free

void Operator::know(const plait::Plan& plan) {
  const auto note = [](auto& all, const auto& one) {
    const bool is_known = std::ranges::any_of(all, [&](const auto& weak) { return weak.lock() == one; });
    if (!is_known) all.push_back(one);
  };
  for (const auto& cluster : plan.clusters) {
    if (cluster == nullptr) continue;
    note(clusters_, cluster->identity);
    for (const EndpointSpec& endpoint : cluster->endpoints) note(options_, endpoint.options);
  }
  for (const auto& policy : plan.policies) note(policies_, policy);
}

// Oracle: workers free nothing that was allocated elsewhere. `when` is empty where the operator has just freed it.
void Operator::noteFreed(const char* when) {
  const auto lookAt = [&](auto& all, const char* what) {
    const size_t gone = std::erase_if(all, [](const auto& weak) { return weak.expired(); });
    if (gone != 0 && *when != '\0') sim.violate("freed", "a worker has freed %zu %s %s", gone, what, when);
  };
  lookAt(options_, "endpoints' options");
  lookAt(clusters_, "clusters' identities");
  lookAt(policies_, "policies");
}

void Operator::sweep() {
  noteFreed("between two reloads");
  // Nothing that is counted is given away.
  std::vector<bool> are_clusters_busy;
  for (const auto& weak : clusters_) {
    const auto one = weak.lock();
    are_clusters_busy.push_back(one->requests.now != 0 || one->waiting.now != 0);
  }
  const auto holders = [this](const RoutePolicy& policy) {
    uint32_t sum = 0;
    for (const auto& worker : *workers_) sum += worker->core().store()->holders(policy);
    return sum;
  };
  std::vector<bool> are_policies_busy;
  for (const auto& weak : policies_) {
    const auto one = weak.lock();
    are_policies_busy.push_back(holders(*one) != 0 || one->requests.now != 0);
  }
  identities_->sweep(holders);
  for (size_t i = 0; i < clusters_.size(); ++i) {
    if (clusters_[i].expired() && are_clusters_busy[i])
      sim.violate("counts", "a cluster is given away while requests are counted in it");
  }
  for (size_t i = 0; i < policies_.size(); ++i) {
    if (policies_[i].expired() && are_policies_busy[i])
      sim.violate("counts", "a policy is given away while requests hold it");
  }
  noteFreed("");
}

void Operator::checkAtRest() {
  listeners_.checkAtRest(workers_->size());
  sweep();
  for (const auto& weak : clusters_) {
    const auto one = weak.lock();
    if (one->requests.now + one->waiting.now != 0)
      sim.violate("counts", "%s counts %u requests and %u that wait at rest", one->name.c_str(),
                  one->requests.now.load(), one->waiting.now.load());
  }
  for (const auto& weak : policies_) {
    const auto one = weak.lock();
    uint32_t held = one->requests.now;
    for (const auto& worker : *workers_) held += worker->core().store()->holders(*one);
    if (held != 0) sim.violate("counts", "%s is held %u times at rest", one->name.c_str(), held);
  }
  const Setting& setting = generations_.back().setting;
  size_t endpoints = 0;
  uint32_t clusters = 0;
  for (const auto& cluster : setting.clusters) {
    clusters += cluster ? 1 : 0;
    endpoints += cluster ? cluster->backends.size() : 0;
  }
  const auto policies = static_cast<uint32_t>(present_->policies.size());
  // As many more can be named as there are places left.
  std::vector<std::shared_ptr<const void>> held;
  const auto fill = [&](const char* what, size_t used, size_t places, const auto& take) {
    size_t taken = 0;
    while (auto one = take(taken)) {
      held.push_back(std::move(one));
      taken += 1;
    }
    if (used + taken != places)
      sim.violate("counts", "%zu numbers of %s are left beside %zu of %zu", taken, what, used, places);
  };
  fill("endpoints", endpoints, endpoint_places_, [this](size_t n) -> std::shared_ptr<const void> {
    BackendOptions options;
    options.host = "spare-" + std::to_string(n);
    return identities_->endpoint("spare", options);
  });
  fill("clusters", clusters, endpoint_places_,
       [this](size_t n) -> std::shared_ptr<const void> { return identities_->cluster("spare-" + std::to_string(n)); });
  fill("policies", policies, policy_places_, [this](size_t n) -> std::shared_ptr<const void> {
    return identities_->policy("spare-" + std::to_string(n), [] { return std::make_shared<RoutePolicy>(); });
  });
  held.clear();
  sweep();
}

// -- which generations a request may have met

bool Operator::wasPresent(size_t generation, uint32_t worker, TimeNs from_ns) const {
  if (generations_[generation].since_ns[worker] == never_ns) return false;
  if (generation + 1 == generations_.size()) return true;
  return generations_[generation + 1].since_ns[worker] >= from_ns;
}

Operator::Clusters Operator::clustersOf(const Setting& setting, uint32_t site) {
  if (!setting.has_routes) return {setting.only_cluster};
  const RouteSetting& route = setting.routes[site - 1];
  if (route.action != RoutePolicy::Action::forward) return {};
  Clusters clusters;
  for (const Side& side : route.sides) {
    if (route.exists && side.weight != 0) clusters.push_back(side.cluster);
  }
  return clusters;
}

void Operator::checkAttempt(const Entry& entry, const char* actor, Attempt attempt) {
  const auto mayCome = [&](TimeNs chosen_ns, TimeNs sent_ns) {
    Clusters clusters;
    for (size_t i = 0; i < generations_.size(); ++i) {
      if (!wasPresent(i, attempt.worker, chosen_ns)) continue;
      const Setting& setting = generations_[i].setting;
      for (const uint32_t cluster : clustersOf(setting, entry.plan.site)) clusters.push_back(cluster);
      if (!wasPresent(i, attempt.worker, sent_ns)) continue;
      for (const uint32_t cluster : clusters) {
        if (setting.clusters[cluster] && has(setting.clusters[cluster]->backends, attempt.backend)) return true;
      }
    }
    return false;
  };
  if (!mayCome(entry.issued_ns, entry.issued_ns))
    return sim.violate("right cluster", "request %u for site %u came to %s, and no generation leads it there",
                       entry.plan.id, entry.plan.site, actor);
  if (sim.faults.areGraceful() && !mayCome(entry.issued_ns, sim.now() - gone_ns))
    sim.violate("gone is gone", "request %u came to %s long after that had been taken out", entry.plan.id, actor);
}

template <class Is>
bool Operator::anyPresent(TimeNs from_ns, Is is) const {
  for (size_t i = generations_.size(); i-- != 0;) {
    bool was_present = false;
    for (uint32_t worker = 0; worker < workers_->size(); ++worker)
      was_present = was_present || wasPresent(i, worker, from_ns);
    if (was_present && is(generations_[i].setting)) return true;
    // Those before it have gone by then.
    if (!was_present && generations_[i].since_ns[0] != never_ns) return false;
  }
  return false;
}

bool Operator::mayLackRoute(const Entry& entry) const {
  return anyPresent(entry.issued_ns, [&entry](const Setting& setting) {
    return setting.has_routes && !setting.routes[entry.plan.site - 1].exists;
  });
}

const std::string* Operator::routeAnswer(const Entry& entry, const Ledger::Answer& answer) const {
  const std::string* text = nullptr;
  (void)anyPresent(entry.issued_ns, [&](const Setting& setting) {
    const RouteSetting& route = setting.routes[entry.plan.site - 1];
    if (!setting.has_routes || !route.exists) return false;
    if (entry.plan.is_grpc) {
      // gRPC knows neither redirects nor other content than messages.
      const bool is_own = route.action == RoutePolicy::Action::redirect || route.action == RoutePolicy::Action::respond;
      if (is_own && answer.status == 200 &&
          valueOf(answer.fields, "grpc-status") == std::to_string(http::grpcStatusOf(route.status)))
        text = &storedText(text_count);
      return text != nullptr;
    }
    if (route.status != answer.status) return false;
    if (route.action == RoutePolicy::Action::redirect &&
        valueOf(answer.fields, "location") == locationOf(entry.plan, route.variant))
      text = &storedText(text_count);
    if (route.action == RoutePolicy::Action::respond && valueOf(answer.fields, "content-type") == typeOf(route.variant))
      text = &storedText(route.variant);
    return text != nullptr;
  });
  return text;
}

bool Operator::mayBeDenied(const Entry& entry) const {
  return anyPresent(entry.issued_ns, [&entry](const Setting& setting) {
    return setting.has_routes && setting.routes[entry.plan.site - 1].denies;
  });
}

// A request waits in the line of the cluster that it was sent to, and is told so when that goes, or has no backends.
bool Operator::mayLackCluster(const Entry& entry) const {
  std::vector<bool> may_use(cluster_count_);
  (void)anyPresent(entry.issued_ns, [&](const Setting& setting) {
    for (const uint32_t cluster : clustersOf(setting, entry.plan.site)) may_use[cluster] = true;
    return false;
  });
  return anyPresent(entry.issued_ns, [&](const Setting& setting) {
    for (uint32_t i = 0; i < cluster_count_; ++i) {
      if (may_use[i] && (!setting.clusters[i] || setting.clusters[i]->backends.empty())) return true;
    }
    return false;
  });
}

TimeNs Operator::upSince(uint32_t worker, uint32_t backend) const {
  const SimWorker& at = *(*workers_)[worker];
  const std::string& host = backends_[backend].host;
  TimeNs since_ns = never_ns;
  at.forEachEndpoint([&](const Endpoint& endpoint) {
    if (endpoint.options->host == host && endpoint.state == EndpointState::up) since_ns = endpoint.since_ns;
  });
  return since_ns;
}

}  // namespace plait::sim
