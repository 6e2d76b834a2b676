#include "plait/plan/identity_fields.h"

#include <gtest/gtest.h>

namespace plait {
namespace {

bool claims(const IdentityFields& fields, std::string_view name) {
  return fields.claims({name, "6.6.6.6", http::fieldNameOf(name), false});
}

TEST(IdentityFields, AreToldInEverySpellingThatABackendCouldTakeForThem) {
  const IdentityFields fields;
  for (const char* name :
       {"x-forwarded-for", "x_forwarded_for", "x.forwarded-for", "x-forwarded_port", "x-forwarded-client-cert",
        "x-forwarded-anything", "x-forwarded", "forwarded", "x-real-ip", "x_real.ip", "true-client-ip",
        "true_client_ip", "client-cert", "client_cert", "client-cert-chain"}) {
    EXPECT_TRUE(claims(fields, name)) << name;
  }
  for (const char* name : {"x-forward", "x-forwardedfor", "x-request-id", "x-real-ips", "client-certificate", "accept",
                           "true-client", "x", "x-r", "cookie", "x-features-on"}) {
    EXPECT_FALSE(claims(fields, name)) << name;
  }
}

TEST(IdentityFields, MoreCanBeNamed) {
  IdentityFields fields;
  EXPECT_FALSE(claims(fields, "cf-connecting-ip"));
  EXPECT_EQ(fields.add("CF-Connecting-IP"), "");
  EXPECT_EQ(fields.add("Origin"), "");
  EXPECT_EQ(fields.add("User"), "");
  for (const char* name : {"cf-connecting-ip", "cf_connecting_ip", "origin", "user", "x-forwarded-for"}) {
    EXPECT_TRUE(claims(fields, name)) << name;
  }
  EXPECT_FALSE(claims(fields, "cf-connecting-ip6"));
  EXPECT_EQ(fields.add("X Y"), "\"X Y\" is no field's name");
  EXPECT_EQ(fields.add("Content-Length"), "Content-Length tells how a message is read, not who sent it");
  EXPECT_EQ(fields.add("Connection"), "Connection tells how a message is read, not who sent it");
}

}  // namespace
}  // namespace plait
