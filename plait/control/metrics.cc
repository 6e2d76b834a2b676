#include "plait/control/metrics.h"

#include <algorithm>

#include "plait/control/build_info.h"
#include "plait/control/metrics_text.h"

namespace plait {
namespace {

using Labels = MetricsText::Labels;

// A set of faults, as bits.
constexpr uint32_t set(std::initializer_list<Fault> faults) {
  uint32_t bits = 0;
  for (const Fault fault : faults) bits |= 1u << static_cast<uint32_t>(fault);
  return bits;
}
static_assert(fault_count <= 32);

// What any peer of HTTP/2 can do to end a connection.
constexpr uint32_t of_connections =
    set({Fault::protocol_error, Fault::flow_control_error, Fault::frame_size_error, Fault::compression_error,
         Fault::stream_closed, Fault::malformed_message, Fault::message_too_large, Fault::frame_flood,
         Fault::continuation_flood, Fault::settings_size, Fault::not_reading, Fault::tls_failed, Fault::no_memory});
constexpr uint32_t of_streams = set({Fault::flow_control_error, Fault::frame_size_error, Fault::stream_closed,
                                     Fault::malformed_message, Fault::message_too_large});

constexpr FaultFamily fault_families[] = {
    {"plait_requests_rejected_total",
     "Requests that were answered with an error or reset before they became requests to a backend.",
     set({Fault::malformed_message, Fault::message_too_large, Fault::stream_flood, Fault::header_timeout,
          Fault::no_memory}),
     [](const WorkerSnapshot& w) -> const FaultCounts& { return w.server.rejections; }},
    {"plait_client_stream_errors_total", "Requests that ended by what their client did.",
     of_streams | set({Fault::body_timeout, Fault::window_timeout, Fault::stuck_upload}),
     [](const WorkerSnapshot& w) -> const FaultCounts& { return w.server.stream_faults; }},
    {"plait_client_connection_errors_total", "Connections that ended by what their client did.",
     of_connections |
         set({Fault::reset_flood, Fault::stream_flood, Fault::header_timeout, Fault::handshake_timeout, Fault::evicted,
              Fault::address_share, Fault::stuck_upload, Fault::proxy_header, Fault::proxy_untrusted}),
     [](const WorkerSnapshot& w) -> const FaultCounts& { return w.server.connection_faults; }},
    {"plait_upstream_stream_errors_total", "Responses that ended by what their backend did.",
     of_streams | set({Fault::interim_flood}),
     [](const WorkerSnapshot& w) -> const FaultCounts& { return w.pool.stream_faults; }},
    {"plait_upstream_connection_errors_total", "Connections that ended by what their backend did.",
     of_connections | set({Fault::interim_flood, Fault::ping_timeout}),
     [](const WorkerSnapshot& w) -> const FaultCounts& { return w.pool.connection_faults; }},
};

class Families {
 public:
  explicit Families(std::span<const WorkerSnapshot> workers) : workers_(workers) {}

  void family(const char* name, const char* help, MetricType type) { out_.family(name, help, type); }
  // A sample of the last family.
  void sample(const Labels& labels, double value) { out_.sample(labels, value); }
  // A sample that is the sum over all workers.
  template <class Get>
  void sum(const Labels& labels, Get get) {
    double total = 0;
    for (const WorkerSnapshot& worker : workers_) total += static_cast<double>(get(worker));
    out_.sample(labels, total);
  }
  template <class Get>
  void total(const char* name, const char* help, MetricType type, Get get) {
    family(name, help, type);
    sum({}, get);
  }

  // One sample for each fault that can occur there, and for any other that has.
  void faults(const FaultFamily& counted) {
    family(counted.name, counted.help, MetricType::counter);
    for (size_t i = 1; i < fault_count; ++i) {
      const auto count = [&](const WorkerSnapshot& worker) { return counted.of(worker)[i]; };
      if (counted.has(static_cast<Fault>(i)) || std::ranges::any_of(workers_, count)) {
        sum({{"reason", faultName(static_cast<Fault>(i))}}, count);
      }
    }
  }

  // A sample of the last family, which holds histograms; `add` adds one worker's to the sum.
  template <class Add>
  void histogram(const Labels& labels, Add add) {
    DurationHistogram sum;
    for (const WorkerSnapshot& worker : workers_) add(worker, sum);
    std::array<double, DurationHistogram::bounds_us.size()> bounds_s{};
    std::ranges::transform(DurationHistogram::bounds_us, bounds_s.begin(),
                           [](int64_t us) { return static_cast<double>(us) / 1e6; });
    out_.histogram(labels, bounds_s, sum.counts, static_cast<double>(sum.sum_ns) / 1e9);
  }

  const std::string& text() const { return out_.text(); }

 private:
  std::span<const WorkerSnapshot> workers_;
  MetricsText out_;
};

constexpr std::array<const char*, 6> classes = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

void addRequests(Families& out, std::span<const WorkerSnapshot> workers) {
  out.family("plait_requests_total", "Requests received, by the version of HTTP that the client speaks.",
             MetricType::counter);
  out.sum({{"protocol", "http1"}}, [](const WorkerSnapshot& w) { return w.server.requests_h1; });
  out.sum({{"protocol", "http2"}}, [](const WorkerSnapshot& w) { return w.server.requests_h2; });
  out.family("plait_responses_total", "Requests that ended, by the class of their status; none: no response was sent.",
             MetricType::counter);
  for (size_t i = 0; i < classes.size(); ++i) {
    out.sum({{"class", classes[i]}}, [i](const WorkerSnapshot& w) { return w.proxy.responses[i]; });
  }
  out.total("plait_responses_incomplete_total", "Responses that broke off or that the client gave up.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.proxy.responses_incomplete; });
  out.total("plait_response_fields_too_large_total",
            "Requests answered with 502, since response_fields made the response's head too large.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.proxy.fields_too_large; });
  out.family("plait_grpc_responses_total",
             "Responses by grpc-status, of backends or plait's own; those that never were are left out.",
             MetricType::counter);
  for (const auto& [from, counts] :
       {std::pair("backend", &ProxyCounters::grpc_from_backends), std::pair("plait", &ProxyCounters::grpc_own)}) {
    for (uint8_t code = 0; code < http::grpc_status_count; ++code) {
      if (std::ranges::any_of(workers, [&](const WorkerSnapshot& w) { return (w.proxy.*counts)[code] != 0; })) {
        out.sum({{"code", http::grpcStatusName(code)}, {"from", from}},
                [&](const WorkerSnapshot& w) { return (w.proxy.*counts)[code]; });
      }
    }
  }
  out.family("plait_body_bytes_total", "Bytes of bodies: in from clients, out to clients.", MetricType::counter);
  out.sum({{"direction", "in"}}, [](const WorkerSnapshot& w) { return w.proxy.body_bytes_in; });
  out.sum({{"direction", "out"}}, [](const WorkerSnapshot& w) { return w.proxy.body_bytes_out; });
  out.family("plait_request_duration_seconds", "From a request's head to the last byte that the client's side took.",
             MetricType::histogram);
  out.histogram({}, [](const WorkerSnapshot& w, DurationHistogram& sum) {
    sum.add(w.proxy.nowhere.duration);
    for (const WorkerSnapshot::Backend& backend : w.backends) sum.add(backend.counters.duration);
  });
  out.total("plait_client_connections", "Connections of clients now.", MetricType::gauge,
            [](const WorkerSnapshot& w) { return w.client_connections; });
  out.total("plait_client_connections_total", "Connections of clients accepted.", MetricType::counter,
            [](const WorkerSnapshot& w) { return w.server.connections_total; });
  out.total("plait_client_connections_refused_total",
            "Connections turned away because every one was in use, or their address held its share of them.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.server.connections_refused; });
  out.total("plait_accept_pauses_total", "Times that accepting stopped: all connections in use, or no descriptor left.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.server.accept_pauses; });
  out.total("plait_requests_refused_total", "Requests for which no exchange or no memory was free.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.server.requests_refused; });
  for (const FaultFamily& counted : std::span(fault_families).first(3)) out.faults(counted);
  out.total("plait_client_connections_evicted_total",
            "Idle connections closed because all were in use, or their address held its share of them.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.server.connections_evicted; });
  out.total("plait_tls_handshake_waits_total", "TLS handshakes of clients that waited until others were done.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.server.handshake_waits; });
  out.total("plait_upload_pauses_total", "Times that a client was not read because the memory for uploads was used up.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.server.upload_pauses; });
  out.family("plait_client_timeouts_total",
             "What clients let pass: their header block, a stream, or the connection as a whole.", MetricType::counter);
  out.sum({{"kind", "header"}}, [](const WorkerSnapshot& w) { return w.server.header_timeouts; });
  out.sum({{"kind", "stream_stalled"}}, [](const WorkerSnapshot& w) { return w.server.stalled_streams; });
  out.sum({{"kind", "connection_stalled"}}, [](const WorkerSnapshot& w) { return w.server.stalled_connections; });
}

constexpr std::pair<EndpointState, const char*> state_names[] = {
    {EndpointState::up, "up"},
    {EndpointState::trial, "trial"},
    {EndpointState::down, "down"},
    {EndpointState::ejected, "ejected"},
};

void addUpstream(Families& out, std::span<const WorkerSnapshot> workers, std::span<const std::string> backends) {
  out.total("plait_upstream_requests_total", "Requests given to backends, without repetitions.", MetricType::counter,
            [](const WorkerSnapshot& w) { return w.pool.requests; });
  out.family("plait_retries_total", "Requests repeated: unprocessed ones provably, unknown ones where that is safe.",
             MetricType::counter);
  out.sum({{"class", "unprocessed"}}, [](const WorkerSnapshot& w) { return w.pool.retries_unprocessed; });
  out.sum({{"class", "unknown"}}, [](const WorkerSnapshot& w) { return w.pool.retries_unknown; });
  out.total("plait_upstream_connects_total", "Connections to backends made.", MetricType::counter,
            [](const WorkerSnapshot& w) { return w.pool.connects; });
  out.total("plait_upstream_connect_failures_total", "Connections to backends that could not be made.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.pool.connect_failures; });
  out.family("plait_upstream_connect_shortages_total",
             "Of those, the ones that failed for want of something of plait's own, by what it was.",
             MetricType::counter);
  out.sum({{"of", "memory"}}, [](const WorkerSnapshot& w) { return w.pool.shortages.memory; });
  out.sum({{"of", "descriptors"}}, [](const WorkerSnapshot& w) { return w.pool.shortages.descriptors; });
  out.sum({{"of", "local_ports"}}, [](const WorkerSnapshot& w) { return w.pool.shortages.local_ports; });
  out.total("plait_upstream_queue_waits_total", "Requests that waited for a stream to become free.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.pool.queue_waits + w.cluster.waits; });
  for (const FaultFamily& counted : std::span(fault_families).last(2)) out.faults(counted);
  out.total("plait_upstream_streams", "Requests at backends now.", MetricType::gauge,
            [](const WorkerSnapshot& w) { return w.upstream_streams; });
  out.family("plait_upstream_connections_ready", "Connections that take requests now, by backend.", MetricType::gauge);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    out.sum({{"backend", backends[i]}}, [i](const WorkerSnapshot& w) { return w.backends[i].ready_connections; });
  }
  out.family("plait_upstream_requests", "Requests at backends now, by backend.", MetricType::gauge);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    out.sum({{"backend", backends[i]}}, [i](const WorkerSnapshot& w) { return w.backends[i].requests; });
  }
  out.family("plait_upstream_responses_total",
             "Requests that ended with that backend, by the class of its status; none: the answer was plait's own.",
             MetricType::counter);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    for (size_t k = 0; k < classes.size(); ++k) {
      // A final status is no 1xx, but for a tunnel's 101.
      out.sum({{"backend", backends[i]}, {"class", classes[k]}},
              [i, k](const WorkerSnapshot& w) { return w.backends[i].counters.responses[k]; });
    }
  }
  out.family("plait_upstream_failures_total",
             "Tries at a backend that failed, repeated or not, by cause; causes that never were are left out.",
             MetricType::counter);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    for (size_t code = 0; code < error_code_count; ++code) {
      const bool has_been = std::ranges::any_of(
          workers, [&](const WorkerSnapshot& w) { return w.backends[i].counters.failures[code] != 0; });
      if (!has_been) continue;
      out.sum({{"backend", backends[i]}, {"cause", errorCodeName(static_cast<ErrorCode>(code))}},
              [&](const WorkerSnapshot& w) { return w.backends[i].counters.failures[code]; });
    }
  }
  out.family("plait_upstream_request_duration_seconds",
             "Of the requests that ended with that backend: from a request's head to the last byte that the client's "
             "side took.",
             MetricType::histogram);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    out.histogram({{"backend", backends[i]}},
                  [i](const WorkerSnapshot& w, DurationHistogram& sum) { sum.add(w.backends[i].counters.duration); });
  }
  out.family("plait_upstream_goaways_total", "GOAWAYs by backend and error code; codes that never came are left out.",
             MetricType::counter);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    for (uint32_t code = 0; code < h2::error_code_count; ++code) {
      const bool has_come =
          std::ranges::any_of(workers, [&](const WorkerSnapshot& w) { return w.backends[i].goaways[code] != 0; });
      if (code != 0 && !has_come) continue;
      out.sum({{"backend", backends[i]}, {"code", h2::errorName(code)}},
              [&](const WorkerSnapshot& w) { return w.backends[i].goaways[code]; });
    }
  }
  out.family("plait_upstream_up", "1 if a worker uses the backend; 0 if it is down, ejected or on trial for all.",
             MetricType::gauge);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    out.sample({{"backend", backends[i]}}, isBackendUp(workers, i) ? 1 : 0);
  }
  out.family("plait_upstream_state", "Workers for which the backend is in that state.", MetricType::gauge);
  for (size_t i = 0; i < backends.size(); ++i) {
    if (backends[i].empty()) continue;
    for (const auto& [state, name] : state_names) {
      out.sum({{"backend", backends[i]}, {"state", name}},
              [i, wanted = state](const WorkerSnapshot& w) { return w.backends[i].state == wanted ? 1 : 0; });
    }
  }
  out.family("plait_upstream_state_changes_total", "Times that a backend came into that state, over workers.",
             MetricType::counter);
  for (const auto& [state, name] : state_names) {
    out.sum({{"state", name}},
            [wanted = state](const WorkerSnapshot& w) { return w.pool.state_changes[static_cast<size_t>(wanted)]; });
  }
  out.total("plait_upstream_trials_total", "Dials to see whether a backend is well again.", MetricType::counter,
            [](const WorkerSnapshot& w) { return w.pool.trials; });
  out.total("plait_upstream_trial_requests_total", "Requests that showed whether an ejected backend is well again.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.cluster.trial_requests; });
  out.total("plait_upstream_ejections_total", "Times that a backend was left out for what it answered.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.cluster.ejections; });
  out.total("plait_upstream_panics_total",
            "Times that ejected backends were used again, since fewer than half were up.", MetricType::counter,
            [](const WorkerSnapshot& w) { return w.cluster.panics; });
  out.total("plait_upstream_panic", "Workers that use ejected backends now, since fewer than half are up.",
            MetricType::gauge, [](const WorkerSnapshot& w) { return w.is_panic ? 1 : 0; });
  out.total("plait_upstream_waiting", "Requests that wait now, since no backend has room.", MetricType::gauge,
            [](const WorkerSnapshot& w) { return w.waiting; });
  out.family("plait_upstream_places",
             "Places for connections to backends (limits.upstream_connections) by what holds "
             "them: ready, being made, retired with requests on them, tunnels.",
             MetricType::gauge);
  out.sum({{"held_by", "ready"}}, [](const WorkerSnapshot& w) { return w.places.ready; });
  out.sum({{"held_by", "dialling"}}, [](const WorkerSnapshot& w) { return w.places.dialling; });
  out.sum({{"held_by", "retired"}}, [](const WorkerSnapshot& w) { return w.places.retired; });
  out.sum({{"held_by", "tunnel"}}, [](const WorkerSnapshot& w) { return w.places.tunnels; });
}

void addMemory(Families& out, std::span<const WorkerSnapshot> workers, const ProcessFigures& process) {
  out.family("plait_serving_allocations_total", "Calls of malloc on worker threads while they serve: always 0.",
             MetricType::counter);
  out.sample({}, static_cast<double>(process.serving_allocations));
  struct Column {
    const char* name;
    const char* help;
    size_t SlabUse::* value;
  };
  for (const Column& column : {Column{"plait_slab_used", "Pieces of reserved memory in use.", &SlabUse::used},
                               Column{"plait_slab_peak", "The most that were ever in use.", &SlabUse::peak},
                               Column{"plait_slab_capacity", "Pieces reserved at start.", &SlabUse::capacity}}) {
    out.family(column.name, column.help, MetricType::gauge);
    for (size_t i = 0; i < workers.size(); ++i) {
      workers[i].slabs.forEach([&](const char* name, const SlabUse& use) {
        out.sample({{"worker", std::to_string(i)}, {"slab", name}}, static_cast<double>(use.*column.value));
      });
    }
  }
  out.total("plait_frame_refusals_total", "Tasks for which no memory was free: a client or a request was refused.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.frame_refusals; });
  struct ArenaColumn {
    const char* name;
    const char* help;
    uint64_t WorkerSnapshot::* value;
  };
  for (const ArenaColumn& column :
       {ArenaColumn{"plait_tls_arena_used_bytes", "Memory of OpenSSL in use.", &WorkerSnapshot::tls_live_bytes},
        ArenaColumn{"plait_tls_arena_peak_bytes", "The most that was ever in use.", &WorkerSnapshot::tls_peak_bytes},
        ArenaColumn{"plait_tls_arena_reserved_bytes", "Reserved at start.", &WorkerSnapshot::tls_reserved_bytes}}) {
    out.family(column.name, column.help, MetricType::gauge);
    for (size_t i = 0; i < workers.size(); ++i) {
      out.sample({{"worker", std::to_string(i)}}, static_cast<double>(workers[i].*column.value));
    }
  }
  out.total("plait_tls_arena_allocations_total", "Allocations of OpenSSL, none of which was a call of malloc.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.tls_allocations; });
  out.total("plait_tls_arena_refusals_total", "Allocations of OpenSSL for which there was no memory.",
            MetricType::counter, [](const WorkerSnapshot& w) { return w.tls_refusals; });
}

void addCertificates(Families& out, std::span<const CertificateEnd> ends) {
  if (ends.empty()) return;
  out.family("plait_certificate_not_after_seconds",
             "When the certificate ends, in seconds since 1970; other: the first to end of those above 1,000.",
             MetricType::gauge);
  const std::span<const CertificateEnd> own = ends.first(std::min(ends.size(), most_certificate_metrics));
  for (const CertificateEnd& one : own) out.sample({{"certificate", one.file}}, static_cast<double>(one.not_after_s));
  const std::span<const CertificateEnd> others = ends.subspan(own.size());
  if (others.empty()) return;
  const auto first = std::ranges::min_element(others, {}, &CertificateEnd::not_after_s);
  out.sample({{"certificate", "other"}}, static_cast<double>(first->not_after_s));
}

}  // namespace

std::span<const FaultFamily> faultFamilies() {
  return fault_families;
}

bool isBackendUp(std::span<const WorkerSnapshot> workers, size_t backend) {
  return std::ranges::any_of(
      workers, [backend](const WorkerSnapshot& worker) { return worker.backends[backend].state == EndpointState::up; });
}

std::string formatMetrics(std::span<const WorkerSnapshot> workers, const ProcessFigures& process,
                          std::span<const std::string> backends) {
  Families out(workers);
  const BuildInfo& build = buildInfo();
  out.family("plait_build_info", "1, with what this plait was built from and with.", MetricType::gauge);
  out.sample({{"version", std::string(build.version)},
              {"commit", build.commit.empty() ? "unknown" : std::string(build.commit)},
              {"compiler", std::string(build.compiler)}},
             1);
  out.family("plait_workers", "Worker threads.", MetricType::gauge);
  out.sample({}, static_cast<double>(workers.size()));
  out.family("plait_draining", "1 while plait ends.", MetricType::gauge);
  out.sample({}, process.is_draining ? 1 : 0);
  out.family("plait_config_generation", "The generation of the configuration that all workers have.",
             MetricType::gauge);
  out.sample({}, static_cast<double>(process.generation));
  out.family("plait_config_reloads_total", "Times that the configuration was read anew, by result.",
             MetricType::counter);
  out.sample({{"result", "done"}}, static_cast<double>(process.reloads));
  out.sample({{"result", "refused"}}, static_cast<double>(process.failed_reloads));
  out.family("plait_config_last_success_timestamp_seconds", "When the configuration was last taken, since 1970.",
             MetricType::gauge);
  out.sample({}, static_cast<double>(process.last_success_s));
  out.family("plait_config_last_failure_timestamp_seconds", "When it was last refused, since 1970; 0: never.",
             MetricType::gauge);
  out.sample({}, static_cast<double>(process.last_failure_s));
  addRequests(out, workers);
  addUpstream(out, workers, backends);
  addMemory(out, workers, process);
  out.family("plait_tls_contexts", "Certificates with their settings, and TLS towards backends, that are in memory.",
             MetricType::gauge);
  out.sample({}, static_cast<double>(process.tls_contexts));
  addCertificates(out, process.certificates);
  out.total("plait_access_log_lines_total", "Lines given to the access log.", MetricType::counter,
            [](const WorkerSnapshot& w) { return w.log_lines; });
  out.family("plait_access_log_dropped_total", "Lines lost: the ring was full, or the file could not be written.",
             MetricType::counter);
  out.sum({{"reason", "ring_full"}}, [](const WorkerSnapshot& w) { return w.log_dropped; });
  out.sample({{"reason", "write_failed"}}, static_cast<double>(process.log_failed_lines));
  out.family("plait_access_log_reopen_failures_total", "Times that the file could not be opened anew.",
             MetricType::counter);
  out.sample({}, static_cast<double>(process.log_failed_reopenings));
  return out.text();
}

}  // namespace plait
