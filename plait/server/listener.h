// Listener: one listening socket. It opens, accepts, pauses and closes by itself, so that it may come and go while its
// server runs; the clients that it has accepted keep what they need of it.
#pragma once

#include "plait/io/io.h"
#include "plait/net/tls.h"
#include "plait/net/trusted_proxies.h"
#include "plait/server/server_options.h"

namespace plait {

// Whether a listener's clients speak TLS.
struct ListenerTls {
  TlsContext* context = nullptr;  // null: they do not
  // Each client chooses: a connection that begins with a TLS handshake is TLS, any other plain.
  bool by_first_byte = false;
};

// A client that has no connection object yet. It is among the users of its TLS context until Server::letGo().
struct AcceptedClient {
  [[no_unique_address]] ListenerTls tls;  // what follows lies in its padding: many may wait
  bool has_proxy_header;
  bool redirects_https;
  int fd;
};
static_assert(sizeof(AcceptedClient) == 16);

class Listener {
 public:
  class Owner {
   public:
    virtual void onAccepted(const AcceptedClient& client, const Listener& listener) = 0;
    // The system is out of descriptors or memory. The listener asks again at once unless it is paused.
    virtual void onAcceptFailed() = 0;
    virtual void onListenerClosed() = 0;

   protected:
    ~Owner() = default;
  };

  // References must outlive the listener. `proxies` are the balancers that speak for its clients by the PROXY protocol:
  // each connection comes from one of them and begins with its header. Null: clients come by themselves. With
  // `redirects_https` requests are answered with the URL of the same over HTTPS (ClientInfo). With `one_by_one` no
  // client is accepted before the one before is adopted.
  Listener(Owner& owner, Io& io, ListenerTls tls, const TrustedProxies* proxies, bool redirects_https, bool one_by_one);
  ~Listener() { setTls(nullptr); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Listens on `address`, which becomes the bound one, and accepts from now on. Errors: listen_failed.
  Status open(sockaddr_storage& address, const PortUse& use);
  const TrustedProxies* proxies() const { return proxies_; }
  // For clients that are accepted from now on.
  void setTls(TlsContext* tls);
  void setProxies(const TrustedProxies* proxies) { proxies_ = proxies; }
  void setRedirectsHttps(bool redirects) { redirects_https_ = redirects; }
  void pause();
  void resume();
  // Takes what already waits to be accepted, as its clients have seen no refusal, and then gives the socket back
  // (Owner::onListenerClosed): at once, or when the kernel has let go of the accept under way.
  void close();
  bool isClosed() const { return state_ == State::closed; }
  // It is closed, or soon will be.
  bool isClosing() const { return state_ == State::closed || state_ == State::closing; }

 private:
  enum class State : uint8_t { closed, accepting, paused, closing };
  void onAccept(const Completion& completion);
  void tell(int fd);
  void finish();

  Owner& owner_;
  Io& io_;
  ListenerTls tls_;
  const TrustedProxies* proxies_;
  bool redirects_https_;
  const bool one_by_one_;
  State state_ = State::closed;
  Op op_;
};

}  // namespace plait
