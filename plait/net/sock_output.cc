#include "plait/net/sock_output.h"

#include "plait/net/sock_room.h"

namespace plait {

static_assert(Io::max_vectors <= UINT8_MAX, "Op::vector_count has a byte");

size_t SockOutput::send(const ByteQueue& wire, int fd, void* owner, void (*on_complete)(void*, const Completion&),
                        SockRoom& room, Io& io) {
  if (wire.empty()) return 0;
  Sending& sending = *(sending_ = room.sendings.create());  // there is one for every socket
  Op& op = sending.op;
  op.kind = OpKind::send;
  op.fd = fd;
  op.owner = owner;
  op.on_complete = on_complete;
  op.vectors = &sending.vector;
  size_t count = wire.gather({&sending.vector, 1});
  size_t bytes = sending.vector.iov_len;
  if (bytes != wire.size()) sending.vectors = static_cast<iovec*>(io.vectorArrays().take());
  if (sending.vectors != nullptr) {
    op.vectors = sending.vectors;
    count = wire.gather({sending.vectors, Io::max_vectors});
    bytes = 0;
    for (size_t i = 0; i < count; ++i) bytes += sending.vectors[i].iov_len;
  }
  op.vector_count = static_cast<uint8_t>(count);
  io.submit(op);
  return bytes;
}

void SockOutput::endSend(SockRoom& room, Io& io) {
  if (sending_->vectors != nullptr) io.vectorArrays().give(sending_->vectors);
  room.sendings.destroy(std::exchange(sending_, nullptr));
}

uint64_t SockOutput::bytesTaken(int fd, Io& io) {
  Op op;
  op.kind = OpKind::untaken;
  op.fd = fd;
  io.submit(op);
  const auto untaken = static_cast<uint64_t>(std::max(op.result, 0));
  // Bytes that a send has put there without having completed are not among the bytes sent.
  taken_ = std::max(taken_, bytes_sent_ - std::min(bytes_sent_, untaken));
  return taken_;
}

}  // namespace plait
