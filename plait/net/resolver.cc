#include "plait/net/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <time.h>

#include "plait/base/assert.h"
#include "plait/io/mailbox.h"

namespace plait {
namespace {

constexpr int64_t min_ttl_s = 1;
constexpr int64_t max_ttl_s = 300;

int64_t nowSeconds() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

void setPort(sockaddr_storage& address, uint16_t port) {
  if (address.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(address).sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in&>(address).sin_port = htons(port);
  }
}

// True when `host` is an address already.
bool parseLiteral(const std::string& host, ResolveAnswer& answer) {
  answer = {};
  auto& v4 = reinterpret_cast<sockaddr_in&>(answer.addresses[0]);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(answer.addresses[0]);
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
  } else if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
  } else {
    return false;
  }
  answer.count = 1;
  answer.ttl_s = max_ttl_s;
  return true;
}

}  // namespace

struct Resolver::State {
  struct Question {
    std::string host;
    uint16_t port;
    ResolveAnswer* answer;
    Op* op;
    Mailbox* mailbox;
  };
  struct Cached {
    ResolveAnswer answer;
    int result;
    int64_t expires_s;
  };
  struct Lookup {
    State* state;
    Question question;
  };

  std::mutex mutex;
  std::condition_variable answered;
  std::deque<Question> questions;
  std::map<std::string, Cached> cache;
  Mailbox wake;  // used for its eventfd alone
  Op wake_op;
  bool is_woken = false;  // wake_op is on its way: it may be posted only once at a time
  bool stopping = false;
  ares_channel channel = nullptr;
  std::thread thread;

  void run() {
    while (true) {
      std::deque<Question> taken;
      {
        const std::lock_guard lock(mutex);
        while (wake.take() != nullptr) {
        }
        is_woken = false;
        if (stopping) return;
        taken.swap(questions);
      }
      for (Question& question : taken) start(question);
      ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
      const int bits = ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
      pollfd descriptors[ARES_GETSOCK_MAXNUM + 1];
      nfds_t count = 0;
      descriptors[count++] = {wake.wakeFd(), POLLIN, 0};
      for (int i = 0; i < ARES_GETSOCK_MAXNUM; ++i) {
        short events = 0;
        if (ARES_GETSOCK_READABLE(bits, i)) events |= POLLIN;
        if (ARES_GETSOCK_WRITABLE(bits, i)) events |= POLLOUT;
        if (events != 0) descriptors[count++] = {sockets[i], events, 0};
      }
      timeval limit{.tv_sec = 60, .tv_usec = 0};
      timeval wait{};
      const timeval* chosen = ares_timeout(channel, &limit, &wait);
      ::poll(descriptors, count, static_cast<int>(chosen->tv_sec * 1000 + chosen->tv_usec / 1000 + 1));
      ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
      for (nfds_t i = 1; i < count; ++i) {
        ares_process_fd(channel, (descriptors[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0 ? descriptors[i].fd : ARES_SOCKET_BAD,
                        (descriptors[i].revents & POLLOUT) != 0 ? descriptors[i].fd : ARES_SOCKET_BAD);
      }
    }
  }

  void start(Question& question) {
    Cached cached{};
    if (parseLiteral(question.host, cached.answer)) return finish(question, cached);
    if (const auto found = cache.find(question.host); found != cache.end() && found->second.expires_s > nowSeconds()) {
      return finish(question, found->second);
    }
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    auto* lookup = new Lookup{this, question};
    ares_getaddrinfo(channel, question.host.c_str(), nullptr, &hints, &State::onAnswer, lookup);
  }

  static void onAnswer(void* argument, int status, int, ares_addrinfo* info) {
    const std::unique_ptr<Lookup> lookup(static_cast<Lookup*>(argument));
    Cached cached{};
    int64_t ttl_s = max_ttl_s;
    for (ares_addrinfo_node* node = info == nullptr ? nullptr : info->nodes; node != nullptr; node = node->ai_next) {
      if (cached.answer.count == ResolveAnswer::max_addresses) break;
      std::memcpy(&cached.answer.addresses[cached.answer.count++], node->ai_addr, node->ai_addrlen);
      ttl_s = std::min<int64_t>(ttl_s, node->ai_ttl);
    }
    if (info != nullptr) ares_freeaddrinfo(info);
    cached.result = cached.answer.count != 0 ? 0 : status == ARES_ETIMEOUT ? -ETIMEDOUT : -ENOENT;
    ttl_s = cached.result == 0 ? std::clamp(ttl_s, min_ttl_s, max_ttl_s) : min_ttl_s;
    cached.answer.ttl_s = static_cast<uint32_t>(ttl_s);
    cached.expires_s = nowSeconds() + ttl_s;
    lookup->state->cache[lookup->question.host] = cached;
    lookup->state->finish(lookup->question, cached);
  }

  void finish(const Question& question, const Cached& cached) {
    *question.answer = cached.answer;
    for (uint32_t i = 0; i < question.answer->count; ++i) setPort(question.answer->addresses[i], question.port);
    if (question.mailbox != nullptr) {
      question.mailbox->post(*question.op, cached.result);
      return;
    }
    const std::lock_guard lock(mutex);
    question.op->result = cached.result;
    question.op->armed = false;
    answered.notify_all();
  }

  // With the mutex held.
  void wakeUp() {
    if (!std::exchange(is_woken, true)) wake.post(wake_op, 0);
  }

  void ask(Question question) {
    const std::lock_guard lock(mutex);
    questions.push_back(std::move(question));
    wakeUp();
  }
};

Resolver::Resolver() : state_(std::make_unique<State>()) {
  PLAIT_ASSERT(ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS);
  ares_options options{};
  options.timeout = 1000;
  options.tries = 2;
  PLAIT_ASSERT(ares_init_options(&state_->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) == ARES_SUCCESS);
  state_->thread = std::thread([this] { state_->run(); });
}

Resolver::~Resolver() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->wakeUp();
  }
  state_->thread.join();
  ares_destroy(state_->channel);
  ares_library_cleanup();
}

void Resolver::resolve(Op& op, Mailbox& mailbox) {
  state_->ask({std::string(op.host), op.port, op.answer, &op, &mailbox});
}

int Resolver::resolveNow(const std::string& host, uint16_t port, ResolveAnswer& answer) {
  Op op;
  op.armed = true;
  state_->ask({host, port, &answer, &op, nullptr});
  std::unique_lock lock(state_->mutex);
  // c-ares ends every lookup by itself, after its tries; so the wait is bounded.
  state_->answered.wait(lock, [&] { return !op.armed; });
  return op.result;
}

}  // namespace plait
