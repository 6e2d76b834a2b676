#include "sim/h1_peer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "sim/h2_backend.h"
#include "sim/sim_backend.h"

namespace plait::sim {

H1Peer::H1Peer(Scene& scene, http_parser_type type, std::string name)
    : Peer(scene), name_(std::move(name)), type_(type) {}

void H1Peer::startMessages() {
  http_parser_init(&parser_, type_);
  parser_.data = this;
  field_.clear();
  value_.clear();
  in_value_ = false;
}

void H1Peer::flushField() {
  if (!in_value_) return;
  in_value_ = false;
  onField(field_, value_);
  field_.clear();
  value_.clear();
}

const http_parser_settings& H1Peer::callbacks() {
  static const http_parser_settings settings = [] {
    http_parser_settings all;
    http_parser_settings_init(&all);
    all.on_header_field = [](http_parser* parser, const char* at, size_t size) {
      auto& peer = *static_cast<H1Peer*>(parser->data);
      peer.flushField();
      peer.field_.append(at, size);
      return 0;
    };
    all.on_header_value = [](http_parser* parser, const char* at, size_t size) {
      auto& peer = *static_cast<H1Peer*>(parser->data);
      peer.in_value_ = true;
      peer.value_.append(at, size);
      return 0;
    };
    all.on_headers_complete = [](http_parser* parser) {
      auto& peer = *static_cast<H1Peer*>(parser->data);
      peer.flushField();
      peer.onHead();
      return 0;
    };
    all.on_body = [](http_parser* parser, const char* at, size_t size) {
      static_cast<H1Peer*>(parser->data)->onBody({at, size});
      return 0;
    };
    all.on_message_complete = [](http_parser* parser) {
      auto& peer = *static_cast<H1Peer*>(parser->data);
      peer.flushField();
      peer.onMessage();
      return 0;
    };
    return all;
  }();
  return settings;
}

void H1Peer::onBytes(std::string_view bytes) {
  const size_t taken = http_parser_execute(&parser_, &callbacks(), bytes.data(), bytes.size());
  if (taken != bytes.size() || HTTP_PARSER_ERRNO(&parser_) != HPE_OK) {
    onBroken(http_errno_description(HTTP_PARSER_ERRNO(&parser_)));
  }
}

void H1Peer::feedEnd() {
  http_parser_execute(&parser_, &callbacks(), nullptr, 0);
}

// -- the client

H1Client::H1Client(Scene& scene, std::string name)
    : H1Peer(scene, HTTP_RESPONSE, std::move(name)), is_slow_(scene.happens(Fault::client_slow)) {}

void H1Client::start(uint32_t count) {
  left_ += count;
  scheduleNext();
}

void H1Client::calmDown() {
  is_slow_ = false;
  resumeReading();
}

void H1Client::scheduleNext() {
  if (left_ == 0) return;
  scene_.network.after((1 + scene_.below(30)) * ns_per_ms, [this, gone = is_gone_] {
    if (!*gone) sendNext();
  });
}

void H1Client::connect() {
  if (is_connecting_) return;
  is_connecting_ = true;
  auto given_up = std::make_shared<bool>(false);
  scene_.network.connect(proxy_port, given_up, [this, given_up, gone = is_gone_](End* end, int) {
    if (*gone || *given_up) {
      if (end != nullptr) end->close(true);
      return;
    }
    *given_up = true;
    is_connecting_ = false;
    if (end == nullptr) return scheduleNext();
    adopt(*end);
    half_closed_ = false;
    startMessages();
    sendNext();
  });
  scene_.network.after(15 * ns_per_s, [this, given_up, gone = is_gone_] {
    if (std::exchange(*given_up, true) || *gone) return;
    is_connecting_ = false;
    scheduleNext();
  });
}

void H1Client::sendNext() {
  if (left_ == 0) return;
  if (!isConnected()) return connect();
  if (!waiting_.empty() || half_closed_) return;
  oneRequest();
  // Pipelining: the second is sent before the first is answered.
  if (left_ != 0 && isConnected() && scene_.below(4) == 0) oneRequest();
}

void H1Client::oneRequest() {
  static constexpr std::string_view methods[] = {"GET", "GET", "POST", "PUT", "DELETE"};
  const std::string method(methods[scene_.below(std::size(methods))]);
  left_ -= 1;
  const uint64_t id = scene_.ledger.open(method, scene_.network.faults().isQuiet());
  const uint64_t size = scene_.ledger.record(id).body_size;
  scene_.trace().note("%s/%u sends request %llu (%s, %llu bytes)", name_.c_str(), connectionId(),
                      static_cast<unsigned long long>(id), method.c_str(), static_cast<unsigned long long>(size));
  waiting_.push_back({.id = id});
  std::string text =
      method + " /r/" + std::to_string(id) + " HTTP/1.1\r\nHost: sim.test\r\nX-Sim-Id: " + std::to_string(id) + "\r\n";
  std::string body(size, '\0');
  for (uint64_t i = 0; i < size; ++i) body[i] = static_cast<char>(byteOf(id, Direction::request, i));
  if (method == "POST" || method == "PUT") {
    if (id % 2 == 0) {
      text += "Content-Length: " + std::to_string(size) + "\r\n\r\n" + body;
    } else {
      text += "Transfer-Encoding: chunked\r\n\r\n";
      for (size_t begin = 0; begin < body.size();) {
        const size_t count = std::min<size_t>(body.size() - begin, 1 + scene_.below(3000));
        char digits[20];
        std::snprintf(digits, sizeof(digits), "%zx\r\n", count);
        text += digits + body.substr(begin, count) + "\r\n";
        begin += count;
      }
      text += "0\r\n\r\n";
    }
  } else {
    text += "\r\n";
  }
  send(text);
  if (scene_.happens(Fault::client_cancel) || scene_.happens(Fault::client_vanish)) {
    scene_.network.after(scene_.below(60) * ns_per_ms, [this, gone = is_gone_, id, connection = connectionId()] {
      if (*gone || !isConnected() || connectionId() != connection) return;
      for (Exchange& exchange : waiting_) exchange.is_cancelled = exchange.is_cancelled || exchange.id == id;
      close(scene_.below(2) == 0);
      onGone();
    });
  } else if (scene_.happens(Fault::client_half_close)) {
    half_closed_ = true;
    finish();
  }
}

void H1Client::onField(std::string_view name, std::string_view value) {
  if (waiting_.empty() || name != "x-sim-id") return;
  Exchange& exchange = waiting_.front();
  exchange.is_answered = true;
  if (value == std::to_string(exchange.id)) return;
  scene_.trace().violate("cross-talk", "request %llu got the answer to %s",
                         static_cast<unsigned long long>(exchange.id), std::string(value).c_str());
}

void H1Client::onBody(std::string_view bytes) {
  if (waiting_.empty()) return;
  Exchange& exchange = waiting_.front();
  if (exchange.is_answered) {
    scene_.ledger.check(exchange.id, Direction::response, exchange.received, bytes, name_.c_str());
  }
  exchange.received += bytes.size();
  if (!is_slow_ || isPaused()) return;
  pauseReading();
  scene_.network.after(scene_.below(400) * ns_per_ms, [this, gone = is_gone_] {
    if (!*gone) resumeReading();
  });
}

void H1Client::onMessage() {
  const auto status = static_cast<int>(parser_.status_code);
  if (status < 200) return;
  if (waiting_.empty()) return scene_.trace().violate("answers", "%s got an answer to nothing", name_.c_str());
  const Exchange exchange = waiting_.front();
  waiting_.pop_front();
  if (exchange.is_answered) {
    scene_.ledger.checkEnd(exchange.id, Direction::response, exchange.received, name_.c_str());
  }
  scene_.ledger.conclude(exchange.id, RequestRecord::Outcome::complete, status, "complete");
  scheduleNext();
}

void H1Client::onBroken(const char* why) {
  // What follows "connection: close" is nobody's.
  if (HTTP_PARSER_ERRNO(&parser_) == HPE_CLOSED_CONNECTION) return;
  scene_.trace().violate("protocol", "%s/%u cannot read plait's answer: %s", name_.c_str(), connectionId(), why);
}

void H1Client::onEnd() {
  feedEnd();
  close();
  onGone();
}

void H1Client::onGone() {
  failAll("the connection ended");
  scheduleNext();
}

void H1Client::failAll(const char* how) {
  for (const Exchange& exchange : std::exchange(waiting_, {})) {
    // Requests behind one that was answered with "close" were not taken.
    scene_.ledger.conclude(exchange.id,
                           exchange.is_cancelled ? RequestRecord::Outcome::cancelled : RequestRecord::Outcome::failed,
                           0, how);
  }
}

void H1Client::disconnect() {
  close();
  failAll("disconnected");
}

// -- the backend

namespace {

class H1Origin final : public H1Peer {
 public:
  H1Origin(Scene& scene, const std::string& name, End& end) : H1Peer(scene, HTTP_REQUEST, name) {
    startMessages();
    adopt(end);
  }

 private:
  void onField(std::string_view name, std::string_view value) override {
    if (name != "x-sim-id") return;
    has_id_ = true;
    std::from_chars(value.data(), value.data() + value.size(), id_);
  }

  void onHead() override {
    received_ = 0;
    if (!std::exchange(has_id_, false) || !scene_.ledger.isKnown(id_)) {
      return scene_.trace().violate("forwarding", "%s got a request without its id", name_.c_str());
    }
    if (is_answering_) return scene_.trace().violate("forwarding", "%s got a second request too early", name_.c_str());
    scene_.ledger.execute(id_, http_method_str(static_cast<http_method>(parser_.method)), name_.c_str());
  }

  void onBody(std::string_view bytes) override {
    scene_.ledger.check(id_, Direction::request, received_, bytes, name_.c_str());
    received_ += bytes.size();
  }

  void onMessage() override {
    scene_.ledger.checkEnd(id_, Direction::request, received_, name_.c_str());
    is_answering_ = true;
    if (scene_.happens(Fault::backend_silent)) return;
    const TimeNs delay_ns =
        scene_.happens(Fault::backend_slow) ? scene_.below(400) * ns_per_ms : scene_.below(3) * ns_per_ms;
    scene_.network.after(delay_ns, [this, gone = is_gone_] {
      if (!*gone && isConnected()) answer();
    });
  }

  void answer() {
    is_answering_ = false;
    const uint64_t size = sizeOf(id_, Direction::response);
    if (scene_.happens(Fault::backend_interim))
      send("HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n");
    const bool closes = scene_.happens(Fault::backend_close_idle);
    const bool says_so = closes && scene_.below(2) == 0;
    std::string text = "HTTP/1.1 200 OK\r\nx-sim-id: " + std::to_string(id_) + "\r\n";
    if (says_so) text += "connection: close\r\n";
    std::string body(size, '\0');
    for (uint64_t i = 0; i < size; ++i) body[i] = static_cast<char>(byteOf(id_, Direction::response, i));
    if (id_ % 3 == 0) {
      text += "content-length: " + std::to_string(size) + "\r\n\r\n" + body;
    } else {
      text += "transfer-encoding: chunked\r\n\r\n";
      for (size_t begin = 0; begin < body.size();) {
        const size_t count = std::min<size_t>(body.size() - begin, 1 + scene_.below(5000));
        char digits[20];
        std::snprintf(digits, sizeof(digits), "%zx\r\n", count);
        text += digits + body.substr(begin, count) + "\r\n";
        begin += count;
      }
      text += scene_.happens(Fault::backend_trailers) ? "0\r\nx-sim-checksum: ok\r\n\r\n" : "0\r\n\r\n";
    }
    if (scene_.happens(Fault::backend_drop)) {
      send(text.substr(0, scene_.below(static_cast<uint32_t>(text.size()))));
      return close(scene_.below(2) == 0);
    }
    send(text);
    if (says_so) return finish();
    if (!closes) return;
    scene_.network.after(scene_.below(30) * ns_per_ms, [this, gone = is_gone_] {
      if (!*gone && !is_answering_) finish();
    });
  }

  void onBroken(const char* why) override {
    scene_.trace().note("%s/%u reads no HTTP/1.1: %s", name_.c_str(), connectionId(), why);
    // HTTP/2's preface among them.
    send("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    finish();
  }
  void onEnd() override { close(); }
  void onGone() override {}

  uint64_t id_ = 0;
  uint64_t received_ = 0;
  bool has_id_ = false;
  bool is_answering_ = false;
};

}  // namespace

std::unique_ptr<Peer> H1Backend::makePeer(End& end) {
  return std::make_unique<H1Origin>(scene(), name(), end);
}

}  // namespace plait::sim
