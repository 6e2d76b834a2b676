// Whether a request's head may take a large block. A head that arrives in pieces needs one, too, while it is not whole:
// requests that are held must leave some, or a client that sends in pieces would lose its connection.
#pragma once

#include "plait/http/header_block.h"

namespace plait {

// `bytes` is what the head needs, about. Each request takes a block for itself, and one for what its backend is sent.
inline bool leavesBlocksToFragments(http::HeaderSlab& headers, size_t bytes) {
  const BlockSlab& medium = headers.ofClass(1);
  const BlockSlab& large = headers.ofClass(2);
  if (large.available() > large.capacity() / 2 || bytes <= http::HeaderSlab::class_sizes[0]) return true;
  return bytes <= http::HeaderSlab::class_sizes[1] && medium.available() > medium.capacity() / 2;
}

}  // namespace plait
