#include "plait/control/metrics.h"

#include <gtest/gtest.h>

#include "plait/version.h"

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
    worker.backends[0].state = EndpointState::down;
    worker.backends[1].ready_connections = 4;
    worker.backends[1].counters.responses[5] = 2;
    worker.backends[1].counters.responses[0] = 1;
    worker.backends[1].counters.failures[static_cast<size_t>(ErrorCode::connection_lost)] = 3;
    worker.backends[1].counters.duration.add(3 * ns_per_s);
    worker.proxy.nowhere.duration.add(40 * ns_per_s);
    worker.slabs[ShownSlab::exchanges_http2] = {2, 9, 100};
  }
  workers[0].backends[0].goaways[h2::errorIndex(h2::H2Error::enhance_your_calm)] = 2;
  workers[1].slabs[ShownSlab::exchanges_http2].peak = 11;
  workers[1].tls_peak_bytes = 4096;
  const std::vector<std::string> backends = {"h2c://a:1", "b\"\n"};
  const std::string text =
      formatMetrics(workers, {.serving_allocations = 6, .log_failed_lines = 8, .is_draining = true}, backends);
  EXPECT_NE(text.find("plait_build_info{version=\"" PLAIT_VERSION "\",commit=\""), std::string::npos);
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
  EXPECT_TRUE(has(text, "plait_upstream_responses_total{backend=\"b\\\"\\n\",class=\"5xx\"} 4"));
  EXPECT_TRUE(has(text, "plait_upstream_responses_total{backend=\"b\\\"\\n\",class=\"none\"} 2"));
  EXPECT_TRUE(has(text, "plait_upstream_failures_total{backend=\"b\\\"\\n\",cause=\"connection_lost\"} 6"));
  EXPECT_EQ(text.find("plait_upstream_failures_total{backend=\"h2c://a:1\""), std::string::npos);
  EXPECT_TRUE(has(text, "plait_upstream_request_duration_seconds_bucket{backend=\"b\\\"\\n\",le=\"5\"} 2"));
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_bucket{le=\"30\"} 2"));
  EXPECT_TRUE(has(text, "plait_request_duration_seconds_bucket{le=\"60\"} 4"));
  EXPECT_TRUE(has(text, "plait_upstream_goaways_total{backend=\"h2c://a:1\",code=\"NO_ERROR\"} 0"));
  EXPECT_TRUE(has(text, "plait_upstream_goaways_total{backend=\"h2c://a:1\",code=\"ENHANCE_YOUR_CALM\"} 2"));
  EXPECT_TRUE(has(text, "plait_serving_allocations_total 6"));
  EXPECT_TRUE(has(text, "plait_slab_peak{worker=\"0\",slab=\"exchanges_http2\"} 9"));
  EXPECT_TRUE(has(text, "plait_slab_peak{worker=\"1\",slab=\"exchanges_http2\"} 11"));
  EXPECT_TRUE(has(text, "plait_slab_capacity{worker=\"1\",slab=\"exchanges_http2\"} 100"));
  EXPECT_TRUE(has(text, "plait_tls_arena_peak_bytes{worker=\"1\"} 4096"));
  EXPECT_TRUE(has(text, "plait_access_log_dropped_total{reason=\"write_failed\"} 8"));
}

TEST(Metrics, AFamilyOfFaultsHasThoseThatCanOccurThereAndAnyThatDidAllTheSame) {
  std::vector<WorkerSnapshot> workers(1);
  workers[0].pool.stream_faults[static_cast<size_t>(Fault::evicted)] = 3;
  const std::string text = formatMetrics(workers, {}, {});
  EXPECT_TRUE(has(text, "plait_client_connection_errors_total{reason=\"evicted\"} 0"));
  EXPECT_TRUE(has(text, "plait_upstream_connection_errors_total{reason=\"ping_timeout\"} 0"));
  EXPECT_EQ(text.find("plait_client_connection_errors_total{reason=\"ping_timeout\"}"), std::string::npos);
  EXPECT_EQ(text.find("plait_upstream_connection_errors_total{reason=\"evicted\"}"), std::string::npos);
  EXPECT_TRUE(has(text, "plait_upstream_stream_errors_total{reason=\"evicted\"} 3"));
}

TEST(Metrics, ACertificateHasItsEndAndTheOthersTheFirstOfTheirs) {
  const std::vector<WorkerSnapshot> workers(1);
  EXPECT_EQ(formatMetrics(workers, {}, {}).find("plait_certificate"), std::string::npos);
  std::vector<CertificateEnd> ends;
  for (size_t i = 0; i < most_certificate_metrics + 3; ++i)
    ends.push_back({"site" + std::to_string(i) + ".pem", 1'800'000'000 - static_cast<int64_t>(i)});
  const std::string text = formatMetrics(workers, {.certificates = ends}, {});
  EXPECT_TRUE(has(text, "plait_certificate_not_after_seconds{certificate=\"site0.pem\"} 1800000000"));
  EXPECT_TRUE(has(text, "plait_certificate_not_after_seconds{certificate=\"site999.pem\"} 1799999001"));
  EXPECT_TRUE(has(text, "plait_certificate_not_after_seconds{certificate=\"other\"} 1799998998"));
  EXPECT_EQ(text.find("site1000.pem"), std::string::npos);
}

TEST(Metrics, AHistogramIsInTheUsualOrder) {
  const std::string text = formatMetrics(std::vector<WorkerSnapshot>(1), {}, {});
  const size_t bucket = text.find("\nplait_request_duration_seconds_bucket{le=\"0.0005\"} 0\n");
  const size_t last = text.find("\nplait_request_duration_seconds_bucket{le=\"+Inf\"} 0\n");
  const size_t sum = text.find("\nplait_request_duration_seconds_sum 0\n");
  const size_t count = text.find("\nplait_request_duration_seconds_count 0\n");
  ASSERT_NE(count, std::string::npos);
  EXPECT_TRUE(bucket < last && last < sum && sum < count);
}

TEST(Metrics, ADurationFallsIntoTheBucketThatItDoesNotExceed) {
  std::vector<WorkerSnapshot> workers(1);
  DurationHistogram& duration = workers[0].proxy.nowhere.duration;
  duration.add(500 * ns_per_us);
  duration.add(500 * ns_per_us + 1);
  duration.add(3 * ns_per_s);
  duration.add(61 * ns_per_s);
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
