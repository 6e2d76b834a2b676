#include "plait/control/certificate_dates.h"

#include <fmt/format.h>

#include "plait/net/certificate_store.h"

namespace plait {

std::vector<std::string> EndReminder::remind(std::span<const CertificateEnd> ends, int64_t now_s) {
  next_s_ = now_s + period_s;
  std::vector<std::string> said;
  size_t unsaid = 0;
  for (const CertificateEnd& one : ends) {
    std::string sentence = net::endWarning(one.file, one.not_after_s, now_s);
    if (sentence.empty()) continue;
    if (said.size() < most_said) {
      said.push_back(std::move(sentence));
    } else {
      unsaid += 1;
    }
  }
  if (unsaid != 0) said.push_back(fmt::format("{} more certificates have expired or are about to", unsaid));
  return said;
}

}  // namespace plait
