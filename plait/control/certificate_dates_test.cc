#include "plait/control/certificate_dates.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

constexpr int64_t day_s = 86400;
constexpr int64_t now_s = 1'800'000'000;

TEST(EndReminder, RemindsOnceADayOfCertificatesThatEndSoon) {
  const CertificateDates::Ends ends = {
      {"over.pem", now_s - 1}, {"soon.pem", now_s + 5 * day_s}, {"later.pem", now_s + 22 * day_s}};
  EndReminder reminder(now_s);
  EXPECT_FALSE(reminder.isDue(now_s + day_s - 1)) << "the start has said it";
  ASSERT_TRUE(reminder.isDue(now_s + day_s));
  const auto said = reminder.remind(ends, now_s + day_s);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_TRUE(said[0].starts_with("the certificate over.pem has expired: it was valid until ")) << said[0];
  EXPECT_TRUE(said[1].starts_with("the certificate soon.pem expires in 4 days, at ")) << said[1];
  EXPECT_FALSE(reminder.isDue(now_s + 2 * day_s - 1));
  ASSERT_TRUE(reminder.isDue(now_s + 2 * day_s));
  EXPECT_EQ(reminder.remind(ends, now_s + 2 * day_s).size(), 3u);
}

TEST(EndReminder, CountsWhatWouldBeTooMany) {
  const CertificateDates::Ends ends(EndReminder::most_said + 7, {"over.pem", 1});
  const auto said = EndReminder(now_s).remind(ends, now_s + day_s);
  ASSERT_EQ(said.size(), EndReminder::most_said + 1);
  EXPECT_EQ(said.back(), "7 more certificates have expired or are about to");
}

}  // namespace
}  // namespace plait
