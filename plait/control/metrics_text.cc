#include "plait/control/metrics_text.h"

#include <fmt/format.h>

#include "plait/base/assert.h"

namespace plait {
namespace {

void putEscaped(std::string_view text, bool is_label, std::string& out) {
  for (const char c : text) {
    if (c == '\\' || (is_label && c == '"')) out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

}  // namespace

void MetricsText::family(std::string_view name, std::string_view help, MetricType type) {
  static constexpr const char* types[] = {"counter", "gauge", "histogram"};
  name_ = name;
  text_ += fmt::format("# HELP {} ", name);
  putEscaped(help, false, text_);
  text_ += fmt::format("\n# TYPE {} {}\n", name, types[static_cast<size_t>(type)]);
}

void MetricsText::line(std::string_view suffix, const Labels& labels, double value) {
  text_ += name_;
  text_ += suffix;
  char before = '{';
  for (const auto& [label, content] : labels) {
    text_ += std::exchange(before, ',');
    text_ += label;
    text_ += "=\"";
    putEscaped(content, true, text_);
    text_ += '"';
  }
  if (!labels.empty()) text_ += '}';
  fmt::format_to(std::back_inserter(text_), " {}\n", value);
}

void MetricsText::histogram(const Labels& labels, std::span<const double> bounds, std::span<const uint64_t> counts,
                            double sum) {
  PLAIT_ASSERT(counts.size() == bounds.size() + 1);
  uint64_t below = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    below += counts[i];
    Labels with_bound = labels;
    with_bound.emplace_back("le", i < bounds.size() ? fmt::format("{}", bounds[i]) : "+Inf");
    line("_bucket", with_bound, static_cast<double>(below));
  }
  line("_sum", labels, sum);
  line("_count", labels, static_cast<double>(below));
}

}  // namespace plait
