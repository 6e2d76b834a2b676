#include "plait/route/field_changes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace plait::route {
namespace {

struct Filled {
  std::string text;
  bool ok = false;
};

Filled fill(const char* written, const Variables& variables, size_t room = 100) {
  Template made;
  EXPECT_EQ(made.parse(written), "");
  std::array<char, 100> buffer{};
  Filled out;
  out.text = made.fill(variables, std::span(buffer).first(room), out.ok);
  return out;
}

std::optional<size_t> textOf(const void* certificate, Variable variable, std::span<char> out) {
  const std::string text =
      variable == Variable::client_cert_subject ? *static_cast<const std::string*>(certificate) : std::string("0123");
  if (text.size() > out.size()) return {};
  std::ranges::copy(text, out.begin());
  return text.size();
}

TEST(Template, AVariableIsTheTextAsItCame) {
  const Variables variables{.host = "Shop.test:8443", .tls_server_name = "shop.test"};
  EXPECT_EQ(fill("host ${host}, ${query}", variables).text, "host Shop.test:8443,") << "no space at its end";
  EXPECT_EQ(fill("${host}/$$${tls_server_name}", variables).text, "Shop.test:8443/$shop.test");
  EXPECT_FALSE(fill("${host}", variables, 5).ok);
  EXPECT_FALSE(fill("${tls_server_name}", {.tls_server_name = "a\nb"}).ok);
}

TEST(Template, TextsOfACertificateAreMadeWhereTheClientHasShownOne) {
  const std::string subject = "CN=client,O=plait";
  Variables variables{.certificate = &subject, .make_text = textOf};
  EXPECT_EQ(fill("<${client_cert_subject}> ${client_cert_fingerprint}", variables).text, "<CN=client,O=plait> 0123");
  EXPECT_FALSE(fill("<${client_cert_subject}>", variables, 10).ok);
  const std::string torn = "CN=a\r\nb";
  variables.certificate = &torn;
  EXPECT_FALSE(fill("${client_cert_subject}", variables).ok);
  const Filled none = fill("<${client_cert_subject}>", {});
  EXPECT_TRUE(none.ok);
  EXPECT_EQ(none.text, "<>");
}

TEST(Template, UnknownVariablesAreToldWithThoseThatThereAre) {
  Template made;
  EXPECT_EQ(made.parse("${client_cert}"),
            "there is no variable \"client_cert\": there are client_address, host, path, query, scheme, method, "
            "request_id, tls_server_name, client_cert_subject, client_cert_fingerprint");
}

}  // namespace
}  // namespace plait::route
