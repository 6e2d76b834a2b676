#include "plait/filter/fields.h"

#include "plait/base/rare.h"

namespace plait {
namespace {

// The most memory that the changes may add: a value with variables counts with the size that it can have at most.
size_t bytesAdded(const route::FieldChanges& changes, const route::Variables& variables, std::span<char> buffer) {
  size_t bytes = 0;
  for (const route::FieldChange& change : changes.changes) {
    bool ok = false;
    const std::string_view value = change.value.fill(variables, buffer, ok);
    if (ok) bytes += http::FieldList::bytesFor(change.name, value, change.id);
  }
  return bytes;
}

bool addTo(http::FieldList& fields, const route::FieldChanges& changes, const route::Variables& variables,
           std::span<char> buffer) {
  for (const route::FieldChange& change : changes.changes) {
    bool ok = false;
    const std::string_view value = change.value.fill(variables, buffer, ok);
    if (!ok) {
      PLAIT_RARE("a field's value cannot be filled in");
      continue;
    }
    if (!fields.add(change.name, value, change.id)) return false;
  }
  return true;
}

}  // namespace

bool changeRequestFields(Exchange& exchange, const route::FieldChanges& changes, const route::Variables& variables) {
  char buffer[most_filled_value];
  if (!exchange.makeRoom(bytesAdded(changes, variables, buffer))) return false;
  http::FieldList& fields = exchange.mutableRequest().fields;
  fields.removeIf([&](const http::Field& field) { return changes.removes(field); });
  return addTo(fields, changes, variables, buffer);
}

Status ChangedHead::make(const http::ResponseHead& head, const route::FieldChanges& changes, std::string_view hsts,
                         const route::Variables& variables) {
  static constexpr auto hsts_name = http::FieldName::strict_transport_security;
  char buffer[most_filled_value];
  size_t bytes = head.fields.heldBytes() + bytesAdded(changes, variables, buffer);
  if (!hsts.empty()) bytes += http::FieldList::bytesFor({}, hsts, hsts_name);
  const auto isShort = [] {
    return fail(streamError(ErrorCode::no_memory, "no memory is left for the response's fields"));
  };
  if (bytes > http::HeaderSlab::largest)
    return fail(streamError(ErrorCode::fields_too_large,
                            "the response's head is too large with the response_fields of its route"));
  if (!block_.reserve(bytes)) return isShort();
  head_ = head;
  head_.fields = http::FieldList(block_.memory());
  if (!head_.fields.copyFrom(head.fields)) return isShort();
  head_.fields.removeIf(
      [&](const http::Field& field) { return changes.removes(field) || (!hsts.empty() && field.id == hsts_name); });
  if (!hsts.empty() && !head_.fields.add(http::nameOf(hsts_name), hsts, hsts_name)) return isShort();
  if (!addTo(head_.fields, changes, variables, buffer)) return isShort();
  return {};
}

}  // namespace plait
