#include "plait/server/exchange.h"

#include <cstdio>

#include "plait/http/grpc.h"

namespace plait {

using http::FieldName;

namespace {

size_t textBytes(const http::RequestHead& head) {
  return head.method.size() + head.scheme.size() + head.authority.size() + head.path.size() + head.protocol.size();
}

// `own` is a copy of `fields`: the texts of the head go with them.
void moveTexts(http::RequestHead& head, http::FieldList& own, const http::FieldList& fields) {
  head.method = own.moved(head.method, fields);
  head.scheme = own.moved(head.scheme, fields);
  head.authority = own.moved(head.authority, fields);
  head.path = own.moved(head.path, fields);
  head.protocol = own.moved(head.protocol, fields);
}

}  // namespace

bool Exchange::adoptRequest(const http::RequestHead& head, const http::FieldList& fields, BlockSlab& body_blocks) {
  started_ns_ = io_.nowNs();
  // HTTP/2's method, path and so on are kept among the fields and come with them.
  if (!head_block_.reserve(fields.heldBytes() + textBytes(head) + 64)) return false;
  request_ = head;
  request_.fields = http::FieldList(head_block_.memory());
  if (!request_.fields.copyFrom(fields)) return false;
  moveTexts(request_, request_.fields, fields);
  if (!head.end_stream) request_pipe_.emplace(body_blocks, headers_).setProducer(this);
  return true;
}

bool Exchange::makeRoom(size_t bytes) {
  const http::FieldList old = request_.fields;
  if (old.heldBytes() + bytes <= old.capacityBytes()) return true;
  http::HeaderBlock larger(headers_);
  if (!larger.reserve(old.heldBytes() + textBytes(request_) + bytes)) return false;
  http::FieldList own(larger.memory());
  if (!own.copyFrom(old)) return false;
  moveTexts(request_, own, old);
  request_.fields = own;
  // The block of the client's own fields is kept: those that Connection names are known by their place in it.
  if (!outgrown_block_.isHeld()) outgrown_block_.swap(head_block_);
  head_block_.swap(larger);
  return true;
}

void Exchange::sendContinue() {
  alignas(8) uint8_t none[64];
  http::ResponseHead interim;
  interim.status = 100;
  interim.fields = http::FieldList(none);
  sendInterim(interim);
}

void Exchange::dropRequest() {
  request_pipe_.reset();
  request_ = {};
  head_block_.reset();
  outgrown_block_.reset();
}

void Exchange::noteHead(uint16_t status) {
  head_sent_ = true;
  status_ = status;
  io_.noteAnswered(io_.nowNs() - started_ns_);
}

void Exchange::noteGrpcStatus(const http::FieldList& fields) {
  const size_t i = fields.find(FieldName::grpc_status);
  if (i != fields.count()) grpc_status_ = http::parseGrpcStatus(fields[i].value);
}

void Exchange::bodyDone(const Error& error) {
  if (body_done_) return;
  body_done_ = true;
  relay_error_ = error;
  if (relay_waiter_) io_.ready(std::exchange(relay_waiter_, nullptr));
}

void Exchange::clientGone(const Error& error) {
  if (request_pipe_) request_pipe_->abort(error);
  if (relayed_ != nullptr) std::exchange(relayed_, nullptr)->cancel(error);
  bodyDone(error);
  cancel_.cancel(error);
}

void Exchange::respondError(const OwnAnswer& answer) {
  if (head_sent_) {
    abort(streamError(ErrorCode::body_aborted, "the response broke off"));
    return;
  }
  OwnAnswer told = answer;
  if (!hasRoomFor(WrittenAnswer::most_body)) told.text = {};
  const WrittenAnswer written(told, request_, requestId());
  const bool has_body = !written.body().empty();
  if (!sendHead(written.head(), !has_body)) return;
  is_own_answer_ = true;
  noteGrpcStatus(written.head().fields);
  if (has_body) sendShortBody(written.body());
}

bool Exchange::respondWith(const http::ResponseHead& head, std::string_view body) {
  const bool has_body = !body.empty() && request_.method != "HEAD";
  if (!sendHead(head, !has_body)) return false;
  is_own_answer_ = true;
  if (has_body) sendShortBody(body);
  return true;
}

void Exchange::breakOff(const Error& error) {
  if (relayed_ != nullptr) std::exchange(relayed_, nullptr)->cancel(error);
  abort(error);
  bodyDone(error);
}

void Exchange::respond(uint16_t status, std::string_view content_type, std::string_view text) {
  alignas(8) uint8_t memory[512];
  http::ResponseHead head;
  head.fields = http::FieldList(memory);
  char length[24];
  const int size = std::snprintf(length, sizeof(length), "%zu", text.size());
  head.status = status;
  head.content_length = text.size();
  head.fields.add("content-type", content_type, FieldName::content_type);
  head.fields.add("content-length", {length, static_cast<size_t>(size)}, FieldName::content_length);
  respondWith(head, text);
}

}  // namespace plait
