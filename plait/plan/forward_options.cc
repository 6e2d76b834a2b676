#include "plait/plan/forward_options.h"

#include <fmt/format.h>

namespace plait {

std::string ForwardOptions::text() const {
  return fmt::format("{} {} {} {} {}\n{}\n{}", x_forwarded, forwarded, via, static_cast<int>(client_cert),
                     request_id ? (*request_id ? "yes" : "no") : "where it is used", trusted_proxies.text(),
                     identity.text());
}

}  // namespace plait
