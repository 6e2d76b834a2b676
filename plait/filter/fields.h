// A route's changes to the fields of a request and of its response (route/field_changes.h), as they are made.
#pragma once

#include "plait/route/field_changes.h"
#include "plait/server/exchange.h"

namespace plait {

// The longest value of a field that has variables in it; a longer one is not set.
inline constexpr size_t most_filled_value = 8192;

// False where no memory is left. Views of the request's head may move.
bool changeRequestFields(Exchange& exchange, const route::FieldChanges& changes, const route::Variables& variables);

// A response's head with a route's changes, in memory of its own.
class ChangedHead {
 public:
  explicit ChangedHead(http::HeaderSlab& memory) : block_(memory) {}
  // `hsts` is the value of Strict-Transport-Security; empty for none. Errors: fields_too_large, where the head comes to
  // more than http::HeaderSlab::largest; no_memory.
  Status make(const http::ResponseHead& head, const route::FieldChanges& changes, std::string_view hsts,
              const route::Variables& variables);
  const http::ResponseHead& head() const { return head_; }

 private:
  http::HeaderBlock block_;
  http::ResponseHead head_;
};

}  // namespace plait
