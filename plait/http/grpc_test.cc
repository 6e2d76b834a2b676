#include "plait/http/grpc.h"

#include <gtest/gtest.h>

namespace plait::http {
namespace {

TEST(Grpc, PlaitsOwnStatusesHaveCodesThatTellClientsWhetherToTryAgain) {
  using Statuses = std::initializer_list<uint16_t>;
  const auto nameOf = [](uint16_t status) { return std::string_view(grpcStatusName(grpcStatusOf(status))); };
  for (const uint16_t status : Statuses{400, 508}) EXPECT_EQ(nameOf(status), "INTERNAL") << status;
  EXPECT_EQ(nameOf(401), "UNAUTHENTICATED");
  EXPECT_EQ(nameOf(403), "PERMISSION_DENIED");
  for (const uint16_t status : Statuses{404, 501}) EXPECT_EQ(nameOf(status), "UNIMPLEMENTED") << status;
  for (const uint16_t status : Statuses{413, 414, 429, 431}) EXPECT_EQ(nameOf(status), "RESOURCE_EXHAUSTED") << status;
  for (const uint16_t status : Statuses{408, 504}) EXPECT_EQ(nameOf(status), "DEADLINE_EXCEEDED") << status;
  for (const uint16_t status : Statuses{421, 502, 503}) EXPECT_EQ(nameOf(status), "UNAVAILABLE") << status;
  for (const uint16_t status : Statuses{405, 418, 500, 505}) EXPECT_EQ(nameOf(status), "UNKNOWN") << status;
}

TEST(Grpc, StatusesOfBackendsAreReadAsFarAsTheyAreGrpcs) {
  EXPECT_EQ(parseGrpcStatus("0"), 0);
  EXPECT_EQ(parseGrpcStatus("16"), 16);
  for (const char* odd : {"17", "99", "123", "", "-1", "1a", " 1"})
    EXPECT_EQ(parseGrpcStatus(odd), grpc_status_other) << odd;
}

TEST(Grpc, IsToldByTheContentType) {
  for (const char* type : {"application/grpc", "application/grpc+proto", "application/grpc-web+proto",
                           "Application/gRPC; charset=utf-8", "application/grpc-web-text"}) {
    EXPECT_TRUE(isGrpc(type)) << type;
  }
  for (const char* type : {"application/grpcx", "application/json", "", "application/grp"})
    EXPECT_FALSE(isGrpc(type)) << type;
  EXPECT_EQ(grpcContentType("application/grpc+proto"), "application/grpc");
  EXPECT_EQ(grpcContentType("application/grpc-web+proto; x=y"), "application/grpc-web+proto");
}

TEST(Grpc, MessagesArePercentEncoded) {
  uint8_t memory[64];
  EXPECT_EQ(grpcMessage("plain text\n", memory), "plain text");
  EXPECT_EQ(grpcMessage("100 % \xc2\xa7\n8\n", memory), "100 %25 %C2%A7%0A8");
  EXPECT_EQ(grpcMessage("ab%", MutableBytes(memory).first(4)), "ab");
}

}  // namespace
}  // namespace plait::http
