#include "plait/proxy/metrics.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

testing::AssertionResult has(const std::string& text, const std::string& line) {
  if (("\n" + text).find("\n" + line + "\n") != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no line " << line << " in\n" << text;
}

TEST(Metrics, SumsTheWorkersAndKeepsTheirMemoryApart) {
  std::vector<WorkerSnapshot> workers(2);
  for (WorkerSnapshot& worker : workers) {
    worker.backends.resize(2);
    worker.server.requests_h1 = 3;
    worker.server.requests_h2 = 5;
    worker.proxy.responses[2] = 7;
    worker.pool.retries_unknown = 1;
    worker.backends[0].is_failing = true;
    worker.backends[1] = {4, true};
    worker.slabs[0] = {"exchanges", 2, 9, 100};
  }
  workers[1].slabs[0].peak = 11;
  workers[1].tls_peak_bytes = 4096;
  const std::vector<std::string> backends = {"h2c://a:1", "b\"\n"};
  const std::string text =
      formatMetrics(workers, {.serving_allocations = 6, .log_failed_lines = 8, .is_draining = true}, backends);
  EXPECT_TRUE(has(text, "plait_workers 2"));
  EXPECT_TRUE(has(text, "plait_draining 1"));
  EXPECT_TRUE(has(text, "# TYPE plait_requests_total counter"));
  EXPECT_TRUE(has(text, "plait_requests_total{protocol=\"http1\"} 6"));
  EXPECT_TRUE(has(text, "plait_requests_total{protocol=\"http2\"} 10"));
  EXPECT_TRUE(has(text, "plait_responses_total{class=\"2xx\"} 14"));
  EXPECT_TRUE(has(text, "plait_retries_total{class=\"unknown\"} 2"));
  EXPECT_TRUE(has(text, "plait_upstream_connections_ready{backend=\"h2c://a:1\"} 0"));
  EXPECT_TRUE(has(text, "plait_upstream_connections_ready{backend=\"b\\\"\\n\"} 8"));
  EXPECT_TRUE(has(text, "plait_upstream_up{backend=\"h2c://a:1\"} 0"));
  EXPECT_TRUE(has(text, "plait_serving_allocations_total 6"));
  EXPECT_TRUE(has(text, "plait_slab_peak{worker=\"0\",slab=\"exchanges\"} 9"));
  EXPECT_TRUE(has(text, "plait_slab_peak{worker=\"1\",slab=\"exchanges\"} 11"));
  EXPECT_TRUE(has(text, "plait_slab_capacity{worker=\"1\",slab=\"exchanges\"} 100"));
  EXPECT_TRUE(has(text, "plait_tls_arena_bytes{worker=\"1\",kind=\"peak\"} 4096"));
  EXPECT_TRUE(has(text, "plait_access_log_dropped_total{reason=\"write_failed\"} 8"));
}

TEST(Metrics, ADurationFallsIntoTheBucketThatItDoesNotExceed) {
  std::vector<WorkerSnapshot> workers(1);
  DurationHistogram& duration = workers[0].proxy.duration;
  duration.add(500 * ns_per_us);
  duration.add(500 * ns_per_us + 1);
  duration.add(3 * ns_per_s);
  duration.add(60 * ns_per_s);
  const std::string text = formatMetrics(workers, {}, {});
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_bucket{le=\"0.0005\"} 1"));
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_bucket{le=\"0.001\"} 2"));
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_bucket{le=\"5\"} 3"));
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_bucket{le=\"10\"} 3"));
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_bucket{le=\"+Inf\"} 4"));
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_count 4"));
}

}  // namespace
}  // namespace plait
