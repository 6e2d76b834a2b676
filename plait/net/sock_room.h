// SockRoom: parts that only some of one owner's sockets need at a time. They are lent from here, so that an idle socket
// is small.
#pragma once

#include "plait/base/slab.h"
#include "plait/net/sock_output.h"
#include "plait/net/tls_pump.h"

namespace plait {

struct SockRoom {
  // `blocks` (at least 16 KiB) hold one decrypted record each while it is being read, and must outlive this. There is
  // enough of everything else for as many `sockets`.
  SockRoom(BlockSlab& blocks, size_t sockets)
      : record_blocks(blocks), tls_pumps(sockets), spilled(sockets), sendings(sockets) {}
  static size_t bytesFor(size_t sockets) {
    return Slab<TlsPump>::bytesFor(sockets) + Slab<ByteQueue>::bytesFor(sockets) + Slab<Sending>::bytesFor(sockets);
  }
  size_t reservedBytes() const {
    return tls_pumps.reservedBytes() + spilled.reservedBytes() + sendings.reservedBytes();
  }
  void prefault() {
    tls_pumps.prefault();
    spilled.prefault();
    sendings.prefault();
  }

  BlockSlab& record_blocks;
  Slab<TlsPump> tls_pumps;
  Slab<ByteQueue> spilled;
  Slab<Sending> sendings;
};

}  // namespace plait
