// Whether a field or pseudo-header field is sound by itself (RFC 9113 §8.2.1, §8.3). It depends on nothing but the
// field, so it is found out once for each literal and remembered with the entry that it becomes in the dynamic table.
#pragma once

#include <string_view>

#include "plait/http/field_name.h"

namespace plait::h2 {

// :method a token, :scheme a scheme, :path in origin-form, :authority empty or host[:port], :status three digits from
// 100 to 599; else a name in lower case and a value without control characters and without whitespace at its ends. A
// :path of "*" is not in origin-form and none of its method's business here. `id` is the name's own.
bool isSoundField(std::string_view name, std::string_view value, http::FieldName id);

// RFC 3986 §3.1.
bool isScheme(std::string_view text);

}  // namespace plait::h2
