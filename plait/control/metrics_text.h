// The text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats): families of samples,
// each with its labels.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plait {

enum class MetricType : uint8_t { counter, gauge, histogram };

class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  // Begins a family. What follows belongs to it.
  void family(std::string_view name, std::string_view help, MetricType type);
  void sample(const Labels& labels, double value) { line("", labels, value); }
  // `counts` of the values up to each bound and no lower one; behind them is that of the values above all bounds.
  void histogram(const Labels& labels, std::span<const double> bounds, std::span<const uint64_t> counts, double sum);
  const std::string& text() const { return text_; }

 private:
  void line(std::string_view suffix, const Labels& labels, double value);

  std::string name_;
  std::string text_;
};

}  // namespace plait
