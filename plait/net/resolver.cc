#include "plait/net/resolver.h"

#include <ares.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "plait/base/assert.h"
#include "plait/io/mailbox.h"
#include "plait/net/address.h"

namespace plait {
namespace {

constexpr int64_t min_ttl_s = 1;
constexpr int64_t max_ttl_s = 300;
constexpr int first_try_timeout_ms = 1000;
constexpr int tries = 2;
// Names come from the configuration, so there are few; a cache that grew past this lost its expired entries.
constexpr size_t max_cached = 1024;
constexpr size_t max_host_size = 253;  // RFC 1035 §2.3.4, without the root's length byte and the trailing one

int64_t nowSeconds() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

int resultOf(int status) {
  switch (status) {
    case ARES_SUCCESS:
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
      return -ENOENT;  // asked for where there are no addresses
    case ARES_ETIMEOUT:
      return -ETIMEDOUT;
    case ARES_EBADNAME:
    case ARES_EBADQUERY:
    case ARES_ESERVICE:
      return -EINVAL;
    case ARES_ENOMEM:
      return -ENOMEM;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
      return -ECANCELED;
    default:
      return -EHOSTUNREACH;
  }
}

// A wait of resolveNow, shared with the resolver's thread since the caller may give up first.
struct BlockingWait {
  std::mutex mutex;
  std::condition_variable answered;
  bool is_done = false;
  int result = 0;
  ResolveAnswer answer;
};

// The asker of a name: an op of a worker, or a blocking wait.
struct Question {
  Op* op = nullptr;
  Mailbox* mailbox = nullptr;
  std::shared_ptr<BlockingWait> wait;
  std::string host;  // of a blocking wait; an op brings its own
  uint16_t port = 0;

  std::string_view name() const { return op != nullptr ? op->lookup->host : std::string_view(host); }

  void finish(int result, const ResolveAnswer& addresses) const {
    ResolveAnswer& answer = op != nullptr ? *op->lookup->answer : wait->answer;
    const uint16_t wanted_port = op != nullptr ? op->lookup->port : port;
    if (op == nullptr) wait->mutex.lock();
    answer.count = addresses.count;
    answer.ttl_s = addresses.ttl_s;
    for (uint32_t i = 0; i < addresses.count; ++i) {
      answer.addresses[i] = addresses.addresses[i];
      setPort(answer.addresses[i], wanted_port);
    }
    if (op != nullptr) {
      mailbox->post(*op, result);
      return;
    }
    wait->result = result;
    wait->is_done = true;
    wait->mutex.unlock();
    wait->answered.notify_all();
  }
};

}  // namespace

struct Resolver::State {
  struct Entry {
    ResolveAnswer answer;
    int result = 0;
    int64_t expires_s = 0;
    bool is_asking = false;
    std::vector<Question> waiting;
  };
  using Cache = std::map<std::string, Entry, std::less<>>;
  struct Lookup {
    State* state;
    Cache::iterator entry;
  };

  // Shared with the threads that ask.
  std::mutex mutex;
  std::vector<Question> asked;
  bool stopping = false;
  int wake_fd = -1;

  // The thread's own.
  Cache cache;
  ares_channel channel = nullptr;
  std::thread thread;

  bool ask(Question question) {
    {
      const std::lock_guard lock(mutex);
      if (asked.size() == max_waiting) return false;
      asked.push_back(std::move(question));  // reserved: a worker must not allocate
    }
    wake();
    return true;
  }

  void wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_fd, &one, sizeof(one));
  }

  void run() {
    ::pthread_setname_np(::pthread_self(), "plait-resolver");
    std::vector<Question> taken;
    taken.reserve(max_waiting);
    while (true) {
      uint64_t count = 0;
      [[maybe_unused]] const auto got = ::read(wake_fd, &count, sizeof(count));
      bool is_stopping = false;
      {
        const std::lock_guard lock(mutex);
        taken.swap(asked);
        is_stopping = stopping;
      }
      for (Question& question : taken) {
        if (is_stopping) {
          question.finish(-ECANCELED, {});
        } else {
          start(question);
        }
      }
      taken.clear();
      if (is_stopping) return;
      waitForEvents();
    }
  }

  void waitForEvents() {
    pollfd descriptors[ARES_GETSOCK_MAXNUM + 1];
    descriptors[0] = {wake_fd, POLLIN, 0};
    nfds_t count = 1;
    int timeout_ms = -1;
    if (channel != nullptr) {
      ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
      const int bits = ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
      for (int i = 0; i < ARES_GETSOCK_MAXNUM; ++i) {
        short events = 0;
        if (ARES_GETSOCK_READABLE(bits, i)) events |= POLLIN;
        if (ARES_GETSOCK_WRITABLE(bits, i)) events |= POLLOUT;
        if (events != 0) descriptors[count++] = {sockets[i], events, 0};
      }
      timeval wait{};
      if (ares_timeout(channel, nullptr, &wait) != nullptr) {
        timeout_ms = static_cast<int>(wait.tv_sec * 1000 + wait.tv_usec / 1000 + 1);
      }
    }
    if (::poll(descriptors, count, timeout_ms) < 0 || channel == nullptr) return;
    for (nfds_t i = 1; i < count; ++i) {
      const bool can_read = (descriptors[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0;
      const bool can_write = (descriptors[i].revents & POLLOUT) != 0;
      if (!can_read && !can_write) continue;
      ares_process_fd(channel, can_read ? descriptors[i].fd : ARES_SOCKET_BAD,
                      can_write ? descriptors[i].fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // what has timed out
  }

  void start(Question& question) {
    const std::string_view name = question.name();
    if (const auto literal = parseLiteral(name, 0)) {
      ResolveAnswer answer;
      answer.addresses[0] = *literal;
      answer.count = 1;
      answer.ttl_s = max_ttl_s;
      return question.finish(0, answer);
    }
    if (name.empty() || name.size() > max_host_size || name.find('\0') != name.npos)
      return question.finish(-EINVAL, {});
    if (channel == nullptr) return question.finish(-EHOSTUNREACH, {});
    auto entry = cache.find(name);
    if (entry == cache.end()) {
      if (cache.size() >= max_cached) dropExpired();
      entry = cache.try_emplace(std::string(name)).first;
    } else if (!entry->second.is_asking && entry->second.expires_s > nowSeconds()) {
      return question.finish(entry->second.result, entry->second.answer);
    }
    entry->second.waiting.push_back(std::move(question));
    if (std::exchange(entry->second.is_asking, true)) return;
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    ares_getaddrinfo(channel, entry->first.c_str(), nullptr, &hints, &State::onAnswer, new Lookup{this, entry});
  }

  void dropExpired() {
    const int64_t now_s = nowSeconds();
    std::erase_if(cache,
                  [now_s](const auto& item) { return !item.second.is_asking && item.second.expires_s <= now_s; });
  }

  static void onAnswer(void* argument, int status, int, ares_addrinfo* info) {
    const std::unique_ptr<Lookup> lookup(static_cast<Lookup*>(argument));
    Entry& entry = lookup->entry->second;
    entry.answer.count = 0;
    int64_t ttl_s = max_ttl_s;
    if (info != nullptr) {
      for (const ares_addrinfo_cname* alias = info->cnames; alias != nullptr; alias = alias->next) {
        ttl_s = std::min<int64_t>(ttl_s, alias->ttl);
      }
      for (const ares_addrinfo_node* node = info->nodes; node != nullptr; node = node->ai_next) {
        if (entry.answer.count == ResolveAnswer::max_addresses) break;
        if (node->ai_addrlen > sizeof(sockaddr_storage)) continue;
        sockaddr_storage& address = entry.answer.addresses[entry.answer.count++];
        address = {};
        std::memcpy(&address, node->ai_addr, node->ai_addrlen);
        ttl_s = std::min<int64_t>(ttl_s, node->ai_ttl);
      }
      ares_freeaddrinfo(info);
    }
    entry.result = entry.answer.count != 0 ? 0 : resultOf(status);
    ttl_s = entry.result == 0 ? std::clamp(ttl_s, min_ttl_s, max_ttl_s) : min_ttl_s;
    entry.answer.ttl_s = static_cast<uint32_t>(ttl_s);
    entry.expires_s = nowSeconds() + ttl_s;
    entry.is_asking = false;
    for (const Question& question : std::exchange(entry.waiting, {})) question.finish(entry.result, entry.answer);
  }
};

Resolver::Resolver() : state_(std::make_unique<State>()) {
  state_->asked.reserve(max_waiting);
  state_->wake_fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  PLAIT_ASSERT(state_->wake_fd >= 0);
  ares_library_init(ARES_LIB_INIT_ALL);
  ares_options options{};
  options.timeout = first_try_timeout_ms;
  options.tries = tries;
  // Without a channel there are still literals; names fail with a result that says so.
  if (ares_init_options(&state_->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) != ARES_SUCCESS) {
    state_->channel = nullptr;
  }
  // Signals are for the thread that waits for them.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Resolver::~Resolver() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake();
  state_->thread.join();
  if (state_->channel != nullptr) ares_destroy(state_->channel);  // answers every lookup with ARES_EDESTRUCTION
  ares_library_cleanup();
  ::close(state_->wake_fd);
}

void Resolver::resolve(Op& op, Mailbox& mailbox) {
  Question question;
  question.op = &op;
  question.mailbox = &mailbox;
  if (!state_->ask(std::move(question))) {
    op.lookup->answer->count = 0;
    mailbox.post(op, -EAGAIN);
  }
}

int Resolver::resolveNow(std::string_view host, uint16_t port, ResolveAnswer& answer) {
  Question question;
  question.wait = std::make_shared<BlockingWait>();
  question.host = host;
  question.port = port;
  const std::shared_ptr<BlockingWait> wait = question.wait;
  answer.count = 0;
  if (!state_->ask(std::move(question))) return -EAGAIN;
  std::unique_lock lock(wait->mutex);
  if (!wait->answered.wait_for(lock, std::chrono::milliseconds(resolve_now_timeout_ms),
                               [&] { return wait->is_done; })) {
    return -ETIMEDOUT;
  }
  answer = wait->answer;
  return wait->result;
}

const char* Resolver::describe(int result) {
  switch (result) {
    case 0:
      return "it was found";
    case -ENOENT:
      return "there is no such name, or it has no address";
    case -ETIMEDOUT:
      return "the name servers did not answer in time";
    case -EINVAL:
      return "it is no host name";
    case -EAGAIN:
      return "too many names are being looked up";
    case -ECANCELED:
      return "the resolver was shut down";
    case -ENOMEM:
      return "there is no memory left";
    default:
      return "the name servers cannot be reached or fail to answer";
  }
}

}  // namespace plait
