#include "plait/proxy/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <sstream>

namespace plait {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// By Fault.
using FaultCounts = std::array<uint64_t, fault_count>;

class Families {
 public:
  explicit Families(std::span<const WorkerSnapshot> workers) : workers_(workers) {}

  void family(const char* name, const char* help, MetricType type) { families_.push_back({name, help, type, {}}); }

  // A sample of the last family.
  void sample(Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    families_.back().metric.push_back(std::move(metric));
  }
  // A sample that is the sum over all workers.
  template <class Get>
  void sum(Labels labels, Get get) {
    double total = 0;
    for (const WorkerSnapshot& worker : workers_) total += static_cast<double>(get(worker));
    sample(std::move(labels), total);
  }
  template <class Get>
  void total(const char* name, const char* help, MetricType type, Get get) {
    family(name, help, type);
    sum({}, get);
  }

  // One sample for each fault.
  template <class Get>
  void faults(const char* name, const char* help, Get get) {
    family(name, help, MetricType::Counter);
    for (size_t i = 1; i < fault_count; ++i) {
      sum({{"reason", faultName(static_cast<Fault>(i))}},
          [&](const WorkerSnapshot& worker) -> uint64_t { return get(worker)[i]; });
    }
  }

  void histogram(const char* name, const char* help) {
    family(name, help, MetricType::Histogram);
    ClientMetric metric;
    auto& out = metric.histogram;
    for (size_t i = 0; i < DurationHistogram::bounds_us.size() + 1; ++i) {
      for (const WorkerSnapshot& worker : workers_) out.sample_count += worker.proxy.duration.counts[i];
      const bool is_last = i == DurationHistogram::bounds_us.size();
      out.bucket.push_back({out.sample_count, is_last ? std::numeric_limits<double>::infinity()
                                                      : static_cast<double>(DurationHistogram::bounds_us[i]) / 1e6});
    }
    for (const WorkerSnapshot& worker : workers_)
      out.sample_sum += static_cast<double>(worker.proxy.duration.sum_ns) / 1e9;
    families_.back().metric.push_back(std::move(metric));
  }

  std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return std::move(out).str();
  }

 private:
  std::span<const WorkerSnapshot> workers_;
  std::vector<MetricFamily> families_;
};

void addRequests(Families& out) {
  out.family("plait_requests_total", "Requests received, by the version of HTTP that the client speaks.",
             MetricType::Counter);
  out.sum({{"protocol", "http1"}}, [](const WorkerSnapshot& w) { return w.server.requests_h1; });
  out.sum({{"protocol", "http2"}}, [](const WorkerSnapshot& w) { return w.server.requests_h2; });
  out.family("plait_responses_total", "Requests that ended, by the class of their status; none: no response was sent.",
             MetricType::Counter);
  static constexpr std::array<const char*, 6> classes = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
  for (size_t i = 0; i < classes.size(); ++i) {
    out.sum({{"class", classes[i]}}, [i](const WorkerSnapshot& w) { return w.proxy.responses[i]; });
  }
  out.total("plait_responses_incomplete_total", "Responses that broke off or that the client gave up.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.proxy.responses_incomplete; });
  out.family("plait_body_bytes_total", "Bytes of bodies: in from clients, out to clients.", MetricType::Counter);
  out.sum({{"direction", "in"}}, [](const WorkerSnapshot& w) { return w.proxy.body_bytes_in; });
  out.sum({{"direction", "out"}}, [](const WorkerSnapshot& w) { return w.proxy.body_bytes_out; });
  out.histogram("plait_request_duration_seconds",
                "From a request's head to the last byte that the client's side took.");
  out.total("plait_client_connections", "Connections of clients now.", MetricType::Gauge,
            [](const WorkerSnapshot& w) { return w.client_connections; });
  out.total("plait_client_connections_total", "Connections of clients accepted.", MetricType::Counter,
            [](const WorkerSnapshot& w) { return w.server.connections_total; });
  out.total("plait_client_connections_refused_total", "Connections turned away because the slab of them was full.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.server.connections_refused; });
  out.total("plait_accept_pauses_total", "Times that accepting stopped: all connections in use, or no descriptor left.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.server.accept_pauses; });
  out.total("plait_requests_refused_total", "Requests for which no exchange or no memory was free.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.server.requests_refused; });
  out.faults("plait_requests_rejected_total",
             "Requests that were answered with an error or reset before they became requests to a backend.",
             [](const WorkerSnapshot& w) -> const FaultCounts& { return w.server.rejections; });
  out.faults("plait_client_stream_errors_total", "Requests that ended by what their client did.",
             [](const WorkerSnapshot& w) -> const FaultCounts& { return w.server.stream_faults; });
  out.faults("plait_client_connection_errors_total", "Connections that ended by what their client did.",
             [](const WorkerSnapshot& w) -> const FaultCounts& { return w.server.connection_faults; });
  out.total("plait_client_connections_evicted_total", "Idle connections closed because all were in use.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.server.connections_evicted; });
  out.total("plait_upload_pauses_total", "Times that a client was not read because the memory for uploads was used up.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.server.upload_pauses; });
  out.family("plait_client_timeouts_total",
             "What clients let pass: their header block, a stream, or the connection as a whole.", MetricType::Counter);
  out.sum({{"kind", "header"}}, [](const WorkerSnapshot& w) { return w.server.header_timeouts; });
  out.sum({{"kind", "stream_stalled"}}, [](const WorkerSnapshot& w) { return w.server.stalled_streams; });
  out.sum({{"kind", "connection_stalled"}}, [](const WorkerSnapshot& w) { return w.server.stalled_connections; });
}

void addUpstream(Families& out, std::span<const WorkerSnapshot> workers, std::span<const std::string> backends) {
  out.total("plait_upstream_requests_total", "Requests given to backends, without repetitions.", MetricType::Counter,
            [](const WorkerSnapshot& w) { return w.pool.requests; });
  out.family("plait_retries_total", "Requests repeated: unprocessed ones provably, unknown ones where that is safe.",
             MetricType::Counter);
  out.sum({{"class", "unprocessed"}}, [](const WorkerSnapshot& w) { return w.pool.retries_unprocessed; });
  out.sum({{"class", "unknown"}}, [](const WorkerSnapshot& w) { return w.pool.retries_unknown; });
  out.total("plait_upstream_connects_total", "Connections to backends made.", MetricType::Counter,
            [](const WorkerSnapshot& w) { return w.pool.connects; });
  out.total("plait_upstream_connect_failures_total", "Connections to backends that could not be made.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.pool.connect_failures; });
  out.total("plait_upstream_queue_waits_total", "Requests that waited for a stream to become free.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.pool.queue_waits; });
  out.faults("plait_upstream_stream_errors_total", "Responses that ended by what their backend did.",
             [](const WorkerSnapshot& w) -> const FaultCounts& { return w.pool.stream_faults; });
  out.faults("plait_upstream_connection_errors_total", "Connections that ended by what their backend did.",
             [](const WorkerSnapshot& w) -> const FaultCounts& { return w.pool.connection_faults; });
  out.total("plait_upstream_streams", "Requests at backends now.", MetricType::Gauge,
            [](const WorkerSnapshot& w) { return w.upstream_streams; });
  out.family("plait_upstream_connections_ready", "Connections that take requests now, by backend.", MetricType::Gauge);
  for (size_t i = 0; i < backends.size(); ++i) {
    out.sum({{"backend", backends[i]}}, [i](const WorkerSnapshot& w) { return w.backends[i].ready_connections; });
  }
  out.family("plait_upstream_up", "1 if a worker is connected to the backend, or none has failed to connect.",
             MetricType::Gauge);
  for (size_t i = 0; i < backends.size(); ++i) {
    out.sample({{"backend", backends[i]}}, isBackendUp(workers, i) ? 1 : 0);
  }
}

void addMemory(Families& out, std::span<const WorkerSnapshot> workers, const ProcessFigures& process) {
  out.family("plait_serving_allocations_total", "Calls of malloc on worker threads while they serve: always 0.",
             MetricType::Counter);
  out.sample({}, static_cast<double>(process.serving_allocations));
  struct Column {
    const char* name;
    const char* help;
    size_t SlabUse::* value;
  };
  for (const Column& column : {Column{"plait_slab_used", "Pieces of reserved memory in use.", &SlabUse::used},
                               Column{"plait_slab_peak", "The most that were ever in use.", &SlabUse::peak},
                               Column{"plait_slab_capacity", "Pieces reserved at start.", &SlabUse::capacity}}) {
    out.family(column.name, column.help, MetricType::Gauge);
    for (size_t i = 0; i < workers.size(); ++i) {
      for (const SlabUse& slab : workers[i].slabs) {
        if (slab.name[0] != '\0')
          out.sample({{"worker", std::to_string(i)}, {"slab", slab.name}}, static_cast<double>(slab.*column.value));
      }
    }
  }
  out.family("plait_tls_arena_bytes", "Memory of OpenSSL by worker: in use, its peak, and reserved.",
             MetricType::Gauge);
  for (size_t i = 0; i < workers.size(); ++i) {
    out.sample({{"worker", std::to_string(i)}, {"kind", "used"}}, static_cast<double>(workers[i].tls_live_bytes));
    out.sample({{"worker", std::to_string(i)}, {"kind", "peak"}}, static_cast<double>(workers[i].tls_peak_bytes));
    out.sample({{"worker", std::to_string(i)}, {"kind", "reserved"}},
               static_cast<double>(workers[i].tls_reserved_bytes));
  }
  out.total("plait_tls_arena_allocations_total", "Allocations of OpenSSL, none of which was a call of malloc.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.tls_allocations; });
  out.total("plait_tls_arena_refusals_total", "Allocations of OpenSSL for which there was no memory.",
            MetricType::Counter, [](const WorkerSnapshot& w) { return w.tls_refusals; });
}

}  // namespace

bool isBackendUp(std::span<const WorkerSnapshot> workers, size_t backend_idx) {
  bool is_failing = false;
  for (const WorkerSnapshot& worker : workers) {
    const WorkerSnapshot::Backend& backend = worker.backends[backend_idx];
    if (backend.ready_connections != 0) return true;
    is_failing = is_failing || backend.is_failing;
  }
  return !is_failing;
}

std::string formatMetrics(std::span<const WorkerSnapshot> workers, const ProcessFigures& process,
                          std::span<const std::string> backends) {
  Families out(workers);
  out.family("plait_workers", "Worker threads.", MetricType::Gauge);
  out.sample({}, static_cast<double>(workers.size()));
  out.family("plait_draining", "1 while plait ends.", MetricType::Gauge);
  out.sample({}, process.is_draining ? 1 : 0);
  addRequests(out);
  addUpstream(out, workers, backends);
  addMemory(out, workers, process);
  out.total("plait_access_log_lines_total", "Lines given to the access log.", MetricType::Counter,
            [](const WorkerSnapshot& w) { return w.log_lines; });
  out.family("plait_access_log_dropped_total", "Lines lost: the ring was full, or the file could not be written.",
             MetricType::Counter);
  out.sum({{"reason", "ring_full"}}, [](const WorkerSnapshot& w) { return w.log_dropped; });
  out.sample({{"reason", "write_failed"}}, static_cast<double>(process.log_failed_lines));
  return out.text();
}

}  // namespace plait
