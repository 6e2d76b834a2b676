// HTTP/1.1: heads that can be read in two ways, bodies that are not what their head says, and messages that never end.
#include <span>

#include "sim/hostile.h"
#include "sim/hostile_text.h"

namespace plait::sim {
namespace {

std::string head(std::string_view start, std::string_view fields) {
  return std::string(start) + "\r\n" + std::string(fields) + "\r\n";
}

// The honest message that a case distorts.
struct Honest {
  Simulation& sim;
  const std::string& start;
  const std::string& fields;
};

struct Case {
  const char* name;
  std::string (*make)(const Honest& honest);
  bool is_last = false;
};

const std::string get = "GET " + std::string(malformed_path) + " HTTP/1.1";
const std::string post = "POST " + std::string(malformed_path) + " HTTP/1.1";
// One that may leave the proxy, as far as its head goes.
const std::string sound = "POST " + std::string(hostile_path) + " HTTP/1.1";
const std::string host = "Host: hostile.test\r\n";
const std::string chunked = host + "Transfer-Encoding: chunked\r\n";
const std::string ok = "HTTP/1.1 200 OK";

constexpr Case requests[] = {
    {"a request without Host", [](const Honest&) { return head(get, ""); }},
    {"two Hosts", [](const Honest&) { return head(get, host + "Host: another.test\r\n"); }},
    {"two Content-Lengths",
     [](const Honest&) { return head(post, host + "Content-Length: 5\r\nContent-Length: 6\r\n"); }},
    {"Content-Length +5", [](const Honest&) { return head(post, host + "Content-Length: +5\r\n"); }},
    {"Content-Length and Transfer-Encoding",
     [](const Honest&) { return head(post, chunked + "Content-Length: 5\r\n"); }},
    {"a coding that is not chunked", [](const Honest&) { return head(post, host + "Transfer-Encoding: gzip\r\n"); }},
    {"chunked, twice", [](const Honest&) { return head(post, host + "Transfer-Encoding: chunked, chunked\r\n"); }},
    {"a field in two lines", [](const Honest&) { return head(get, host + "X-A: b\r\n c\r\n"); }},
    {"NUL in a field", [](const Honest&) { return head(get, host + std::string("X-A: b\0c\r\n", 10)); }},
    {"CR in a field", [](const Honest&) { return head(get, host + "X-A: b\rc\r\n"); }},
    {"a blank before the colon", [](const Honest&) { return head(get, host + "X-A : b\r\n"); }},
    {"two blanks in the request line", [](const Honest&) { return head("GET  /malformed HTTP/1.1", host); }},
    {"a control character in the target", [](const Honest&) { return head("GET /malformed\x01 HTTP/1.1", host); }},
    {"HTTP/3.7", [](const Honest&) { return head("GET /malformed HTTP/3.7", host); }},
    {"no version", [](const Honest&) { return head("GET /malformed", host); }},
    {"a head of 70 KiB", [](const Honest&) { return head(get, host + "X-A: " + std::string(70'000, 'a') + "\r\n"); }},
    {"200 fields", [](const Honest&) { return head(get, host + times(200, "X-A: b\r\n")); }},
    {"a field without a name", [](const Honest&) { return head(get, host + ": b\r\n"); }},
    {"a head that never ends", [](const Honest&) { return get + "\r\n" + host; }, true},
    {"nothing", [](const Honest&) { return std::string(); }, true},
    {"half a method", [](const Honest&) { return std::string("PO"); }, true},
    {"a chunk of no number", [](const Honest&) { return head(sound, chunked) + "zz\r\n"; }},
    {"a chunk that is longer than it says", [](const Honest&) { return head(sound, chunked) + "1\r\nxyz\r\n"; }},
    {"a chunk of 2^80 bytes", [](const Honest&) { return head(sound, chunked) + "100000000000000000000\r\n"; }},
    {"trailers that frame", [](const Honest&) { return head(sound, chunked) + "0\r\nContent-Length: 5\r\n\r\n"; }},
    {"a chunk's extension of 70 KiB",
     [](const Honest&) { return head(sound, chunked) + "1;" + std::string(70'000, 'a') + "\r\nx\r\n"; }},
    {"a body that never ends", [](const Honest&) { return head(sound, host + "Content-Length: 100\r\n") + "x"; }, true},
    {"CONNECT", [](const Honest&) { return head("CONNECT hostile.test:443 HTTP/1.1", host); }},
    {"TRACE that goes no further",
     [](const Honest&) { return head("TRACE /malformed HTTP/1.1", host + "Max-Forwards: 0\r\n"); }},
    {"OPTIONS that goes no further",
     [](const Honest&) { return head("OPTIONS /malformed HTTP/1.1", host + "Max-Forwards: 0\r\n"); }},
    {"HTTP/1.0", [](const Honest&) { return head("GET /hostile HTTP/1.0", host); }},
    {"an expectation",
     [](const Honest&) { return head(sound, host + "Content-Length: 1\r\nExpect: 100-continue\r\n") + "x"; }},
    {"an upgrade",
     [](const Honest&) {
       return head("GET /hostile HTTP/1.1", host + "Connection: upgrade\r\nUpgrade: websocket\r\n");
     }},
    {"noise", [](const Honest& s) { return noise(s.sim, 1) + "\r\n\r\n"; }},
};

constexpr Case responses[] = {
    {"no version", [](const Honest&) { return head("200 OK", "Content-Length: 0\r\n"); }},
    {"a status of two digits", [](const Honest&) { return head("HTTP/1.1 20 OK", "Content-Length: 0\r\n"); }},
    {"two Content-Lengths", [](const Honest&) { return head(ok, "Content-Length: 5\r\nContent-Length: 6\r\n"); }},
    {"Content-Length and Transfer-Encoding",
     [](const Honest&) { return head(ok, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"); }},
    {"a field in two lines", [](const Honest&) { return head(ok, "Content-Length: 0\r\nX-A: b\r\n c\r\n"); }},
    {"NUL in a field", [](const Honest&) { return head(ok, std::string("Content-Length: 0\r\nX-A: b\0c\r\n", 29)); }},
    {"101 to no upgrade",
     [](const Honest&) { return head("HTTP/1.1 101 Switching", "Upgrade: x\r\nConnection: upgrade\r\n"); }},
    {"interim responses without end", [](const Honest&) { return times(200, head("HTTP/1.1 102 Processing", "")); }},
    {"a head of 70 KiB", [](const Honest&) { return head(ok, "X-A: " + std::string(70'000, 'a') + "\r\n"); }},
    {"200 fields", [](const Honest&) { return head(ok, times(200, "X-A: b\r\n")); }},
    {"a head that never ends", [](const Honest&) { return ok + "\r\nX-A: b\r\n"; }, true},
    {"a chunk of no number",
     [](const Honest& s) { return head(s.start, s.fields + "Transfer-Encoding: chunked\r\n") + "zz\r\n"; }},
    {"a chunk of 2^80 bytes",
     [](const Honest& s) {
       return head(s.start, s.fields + "Transfer-Encoding: chunked\r\n") + "100000000000000000000\r\n";
     }},
    {"a response to nothing", [](const Honest&) { return times(2, head(ok, "Content-Length: x\r\n")); }},
    {"Content-Length -1", [](const Honest&) { return head(ok, "Content-Length: -1\r\n"); }},
    {"HTTP/2.0", [](const Honest&) { return head("HTTP/2.0 200 OK", "Content-Length: 0\r\n"); }},
    {"a field without a colon", [](const Honest&) { return head(ok, "Content-Length 0\r\n"); }},
    {"noise", [](const Honest& s) { return noise(s.sim, 1) + "\r\n\r\n"; }},
};

Hostility anyOf(std::span<const Case> cases, const Honest& honest) {
  const Case& drawn = cases[honest.sim.below(static_cast<uint32_t>(cases.size()))];
  return {drawn.name, drawn.make(honest), drawn.is_last};
}

}  // namespace

Hostility hostileRequest(Simulation& sim) {
  return anyOf(requests, {sim, {}, {}});
}

Hostility hostileResponse(Simulation& sim, const std::string& honest_start, const std::string& honest_fields) {
  return anyOf(responses, {sim, honest_start, honest_fields});
}

}  // namespace plait::sim
