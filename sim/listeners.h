// The listeners of a run with reloads. The operator opens, changes and closes them at each worker, in the steps of
// control/reload.cc, and clients hear where they may connect.
//
//   open() beside prepare → publish() → change() at each worker: certificates, balancers, and those that go close
#pragma once

#include <array>
#include <deque>

#include "plait/net/trusted_proxies.h"
#include "sim/client.h"

namespace plait::sim {

class SimWorker;

class Listeners final : public Ways {
 public:
  static constexpr size_t port_count = 6;
  // All that is configured of them.
  struct Setting {
    std::array<bool, port_count> is_open{};
    uint32_t certificate = 0;         // of those with TLS
    bool has_more_balancers = false;  // of which headers of the PROXY protocol are taken
    bool operator==(const Setting&) const = default;
  };

  Listeners(Network& network, Tls& tls, uint64_t seed, bool tls_by_first_byte);

  // -- what is configured
  Setting first();
  void draw(Setting& setting);

  // -- at one worker, in a turn of its own
  void openFirst(SimWorker& worker);
  // Opens those that `next` adds. False where one cannot be opened; there are none of them then.
  bool open(SimWorker& worker, const Setting& next);
  void takeBack(SimWorker& worker, const Setting& next);
  void change(SimWorker& worker, const Setting& next);

  // -- a reload as a whole
  void begin(const Setting& next);
  void giveUp();
  // Clients may use what is new, and no longer what goes.
  void publish(const Setting& next);
  // Each worker has been given it.
  void end();
  // Oracles: the sockets that listen are those of the setting; once more have been closed.
  void checkOpen(size_t workers) const;
  void checkAtRest(size_t workers) const;

  // -- for clients
  Way choose(bool asks_tls_port) override;
  void onCertificate(const char* actor, const Way& way, const std::string& certificate, TimeNs asked_ns) override;

 private:
  // A certificate that clients may be shown.
  struct Shown {
    uint32_t certificate = 0;
    TimeNs from_ns = 0;
    TimeNs until_ns = never_ns;
  };
  bool openAt(SimWorker& worker, size_t port, const Setting& setting);
  const TrustedProxies* balancers(size_t port, const Setting& setting) const;
  TlsContext* contextOf(size_t port, const Setting& setting);
  // Somebody whom the listener does not trust says that he speaks for a client.
  void pretend(const Way& way);

  Simulation& sim;
  Network& network_;
  Tls& tls_;
  Random random_;
  const bool tls_by_first_byte_;
  TrustedProxies balancers_;
  TrustedProxies more_balancers_;
  Setting present_;  // that clients know of
  Setting before_;   // that workers had before the reload under way
  std::deque<Shown> shown_;
  std::array<TimeNs, port_count> closed_ns_{};  // when it was last to close; 0: never
  uint32_t was_served_ = 0;                     // certificates, as bits
  TimeNs more_until_ns_ = 0;                    // some listener may have had more balancers until then
  uint16_t pretenders_ = 0;
};

}  // namespace plait::sim
