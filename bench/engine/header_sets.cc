#include "bench/engine/header_sets.h"

#include <cstdint>

namespace plait::bench {
namespace {

// Hexadecimal digits that differ from one message to the next, but not from run to run.
std::string digits(size_t number, size_t count) {
  std::string text;
  uint64_t state = number * 0x9e3779b97f4a7c15ull + 1;
  while (text.size() < count) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    text += "0123456789abcdef"[state >> 60];
  }
  return text;
}

Message browserRequest(size_t i) {
  const char* const kinds[] = {"/static/app.", "/images/product/", "/api/v2/cart/", "/catalogue?page="};
  return {{":method", "GET"},
          {":scheme", "https"},
          {":authority", "shop.example.com"},
          {":path", kinds[i % 4] + digits(i, 10)},
          {"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
          {"accept", i % 4 == 1 ? "image/avif,image/webp,*/*;q=0.8" : "*/*"},
          {"accept-language", "en-GB,en;q=0.7,de;q=0.3"},
          {"accept-encoding", "gzip, deflate, br, zstd"},
          {"referer", "https://shop.example.com/catalogue?page=" + std::to_string(i / 16)},
          {"cookie", "session=6bd1f0a8c3e94d7c9b52aa10; theme=dark; consent=all"},
          {"sec-fetch-dest", i % 4 == 1 ? "image" : "empty"},
          {"sec-fetch-mode", "cors"},
          {"sec-fetch-site", "same-origin"},
          {"te", "trailers"}};
}

Message apiRequest(size_t i) {
  return {{":method", i % 3 == 0 ? "POST" : "GET"},
          {":scheme", "https"},
          {":authority", "api.internal:8443"},
          {":path", "/v1/accounts/" + digits(i, 8) + "/entries?limit=50"},
          {"user-agent", "okhttp/4.12.0"},
          {"accept", "application/json"},
          {"authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.cThIIoDvwdueQB468K5xDc5633seEFoqwxjF_xSJyQQ"},
          {"content-type", "application/json"},
          {"content-length", std::to_string(20 + i % 400)},
          {"x-request-id", digits(i, 32)},
          {"traceparent", "00-" + digits(i + 7, 32) + "-" + digits(i + 9, 16) + "-01"}};
}

Message grpcRequest(size_t i) {
  return {{":method", "POST"},
          {":scheme", "http"},
          {":path", i % 2 == 0 ? "/inventory.v1.Stock/Get" : "/inventory.v1.Stock/List"},
          {":authority", "stock.internal:50051"},
          {"content-type", "application/grpc"},
          {"user-agent", "grpc-go/1.64.0"},
          {"te", "trailers"},
          {"grpc-timeout", std::to_string(900 + i % 100) + "m"},
          {"grpc-encoding", "identity"}};
}

Message response(size_t i) {
  return {{":status", i % 16 == 0 ? "404" : "200"},
          {"server", "nginx"},
          {"date", "Mon, 04 Nov 2024 10:21:0" + std::to_string(i / 64 % 10) + " GMT"},
          {"content-type", i % 4 == 1 ? "image/webp" : "application/json; charset=utf-8"},
          {"content-length", std::to_string(500 + i * 37 % 9000)},
          {"cache-control", "max-age=600, public"},
          {"etag", "\"" + digits(i, 16) + "\""},
          {"vary", "accept-encoding"},
          {"strict-transport-security", "max-age=31536000"},
          {"x-content-type-options", "nosniff"}};
}

// The response that a health check or a benchmark gets: all of it in the tables after the first.
Message shortResponse(size_t) {
  return {{":status", "200"}, {"server", "plait"}, {"content-type", "text/plain"}, {"content-length", "100"}};
}

}  // namespace

std::vector<HeaderSet> headerSets(size_t count) {
  std::vector<HeaderSet> sets;
  const auto add = [&](const char* name, Message (*make)(size_t)) {
    HeaderSet set{name, {}};
    for (size_t i = 0; i < count; ++i) set.messages.push_back(make(i));
    sets.push_back(std::move(set));
  };
  add("browser_request", browserRequest);
  add("api_request", apiRequest);
  add("grpc_request", grpcRequest);
  add("response", response);
  add("short_response", shortResponse);
  return sets;
}

}  // namespace plait::bench
