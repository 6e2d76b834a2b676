// One client's connection: the socket, which protocol it speaks, and nothing of either protocol.
#pragma once

#include <variant>

#include "plait/server/h1_conversation.h"
#include "plait/server/h2_conversation.h"
#include "plait/server/listener.h"
#include "plait/server/upload_room.h"

namespace plait {

class ServerConnection final : public UltraSock::Owner {
 public:
  explicit ServerConnection(Server& server);
  ~ServerConnection() = default;

  // Reads a balancer's header where one comes, performs TLS where it is spoken, and waits for the client's first bytes,
  // which tell the protocol: they are in `opening` then. False where nothing came, with the socket closed, or where
  // there was no frame.
  Task<bool> greet(const AcceptedClient& accepted, BufferedInput& opening, Io& io);
  // Serves from those bytes on until the connection is over, and then ends it (Server::ended).
  Task<void> converse(BufferedInput&& opening, Io& io);
  // The protocol's task runs. Bytes that were read before count for nothing where the connection has been aborted
  // since.
  void begin(BufferedInput& opening) {
    has_begun_ = true;
    if (sock_.isAborted()) opening.bytes() = {};
  }
  void onOutputDrained() override;
  void onPeerClosed() override;
  template <class Use>
  void forEachExchange(Use use) {
    if (H2Conversation* const its = h2()) its->forEachExchange(use);
    if (H1Conversation* const its = h1()) its->forEachExchange(use);
  }
  // Asks the client to go: two-phase GOAWAY, or "connection: close" with the next response.
  void drain();
  int64_t lostCredit() { return h2() == nullptr ? 0 : h2()->lostCredit(); }
  // Bytes of request bodies that backends have not taken yet; and of those of which nothing was taken since then.
  size_t heldUpload();
  size_t stuckUpload(TimeNs before_ns);
  // Ends the upload of which nothing was taken for the longest.
  void endStuckUpload();
  // A backend has taken something of an upload.
  void noteUploadTaken() {
    if (room_waiter_ != nullptr) [[unlikely]]
      sortRoomWaiter();
  }

  Server& server() { return server_; }
  UltraSock& sock() { return sock_; }
  const ClientInfo& client() const { return client_; }
  Scope& scope() { return scope_; }
  // The deadline for the client's next sign of life; never_ns for none.
  void expectBy(TimeNs deadline_ns);
  // Output found no block although none of this connection's waits to be sent, so nothing will tell when there is one.
  void lookSoon();
  // Ends the connection at once; whatever waits on it is woken.
  void abort(const Error& error);
  // The conversation is over: says its last words (UltraSock::closeGracefully). From here on that, and nothing else,
  // says when the client has had its time.
  Task<void> sayFarewell(Io& io, uint32_t unread_limit = UINT32_MAX);

  // Waits until there is memory for this connection's request bodies again, or it is over: look which. One waiter at a
  // time.
  UploadWait uploadRoom() { return UploadWait(*this); }
  // A coroutine that waits for something that is scarce goes on: it is its turn, or the connection is aborted.
  void wakeForRoom();
  // Memory for uploads is ample again: nothing that waits counts against the connection's window any more.
  void creditWaiting() {
    if (H2Conversation* const its = h2()) its->creditWaiting();
  }

  // No request is in progress: where connections become scarce this one may have to go.
  void setIdle();
  void setBusy();

  ListNode node;  // among the server's busy or idle ones

 private:
  friend class Server;
  friend class RoomWait;
  // A client that is refused before its first request may send so much until it has heard that.
  static constexpr uint32_t refused_unread_limit = 256 * 1024;

  // Reads the header that a balancer sends in front of a connection (net/proxy_protocol.h), and takes the client from
  // it. What came behind it is in `opening` then. False where the connection is refused or over.
  Task<bool> readProxyHeader(BufferedInput& opening, TimeNs by_ns, Io& io);
  enum class ProxyHeaderIs : uint8_t { partial, taken, refused };
  ProxyHeaderIs takeProxyHeader(BufferedInput& opening);
  // The connection has ended within that header.
  void noteNoProxyHeader(const Result<bool>& end, const BufferedInput& opening);
  void onTimer();
  void schedule();
  void evict();
  void answerText(const Error& why);
  // Puts its waiter where those are that hold as much.
  void sortRoomWaiter();
  // Null as long as the conversation has not begun: nothing may be said on it before its first words.
  H2Conversation* h2() { return has_begun_ ? std::get_if<H2Conversation>(&protocol_) : nullptr; }
  H1Conversation* h1() { return has_begun_ ? std::get_if<H1Conversation>(&protocol_) : nullptr; }

  Server& server_;
  // These lie in the padding at the socket's end: idle clients are many.
  [[no_unique_address]] UltraSock sock_;
  bool is_idle_ = false;
  bool is_leaving_ = false;  // evicted
  bool has_begun_ = false;
  bool is_ending_ = false;
  ClientInfo client_;
  Scope scope_;
  // The connection's only timer. It is not moved with every request: it fires, looks, and is armed for the rest.
  Timer timer_;
  TimeNs deadline_ns_ = never_ns;  // while it ends: since when
  OutputWatch output_;
  TimeNs idle_since_ns_ = 0;
  RoomWait* room_waiter_ = nullptr;
  std::variant<std::monostate, H2Conversation, H1Conversation> protocol_;
};

}  // namespace plait
