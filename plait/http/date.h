// The one date format that HTTP sends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plait::http {

inline constexpr size_t imf_date_size = 29;

// Writes IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7), without a terminating zero. `epoch_s` is
// seconds since 1970-01-01 UTC, from 0 up to the end of the year 9999; anything outside is clamped.
void formatImfDate(int64_t epoch_s, char out[imf_date_size]);

}  // namespace plait::http
