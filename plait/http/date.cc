#include "plait/http/date.h"

#include <algorithm>
#include <cstring>

namespace plait::http {
namespace {

constexpr char weekdays[] = "SunMonTueWedThuFriSat";
constexpr char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
constexpr int64_t day_s = 86'400;
constexpr int64_t last_s = 253'402'300'799;  // 9999-12-31 23:59:59

constexpr bool isLeap(int64_t year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

// Days of all whole years before `year`, counted from 1970.
constexpr int64_t daysBefore(int64_t year) {
  const int64_t before = year - 1;
  return 365 * (year - 1970) + (before / 4 - 1969 / 4) - (before / 100 - 1969 / 100) + (before / 400 - 1969 / 400);
}
static_assert(daysBefore(1970) == 0);
static_assert(daysBefore(2000) == 10'957);

void putTwo(char* out, int64_t value) {
  out[0] = static_cast<char>('0' + value / 10);
  out[1] = static_cast<char>('0' + value % 10);
}

}  // namespace

void formatImfDate(int64_t epoch_s, char out[imf_date_size]) {
  const int64_t seconds = std::clamp<int64_t>(epoch_s, 0, last_s);
  const int64_t days = seconds / day_s;
  const int64_t in_day = seconds % day_s;
  // The mean year gives the year or the one behind it; the exact count decides.
  int64_t year = 1970 + days * 400 / 146'097;
  if (daysBefore(year) > days) year -= 1;
  if (daysBefore(year + 1) <= days) year += 1;
  int64_t day = days - daysBefore(year);
  const int64_t lengths[12] = {31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int64_t month = 0;
  while (day >= lengths[month]) day -= lengths[month++];

  std::memcpy(out, "Thu, 01 Jan 1970 00:00:00 GMT", imf_date_size);
  std::memcpy(out, weekdays + (days + 4) % 7 * 3, 3);  // the first day of the epoch was a Thursday
  putTwo(out + 5, day + 1);
  std::memcpy(out + 8, months + month * 3, 3);
  putTwo(out + 12, year / 100);
  putTwo(out + 14, year % 100);
  putTwo(out + 17, in_day / 3600);
  putTwo(out + 20, in_day / 60 % 60);
  putTwo(out + 23, in_day % 60);
}

}  // namespace plait::http
