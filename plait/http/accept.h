// The media type that a client would rather read (RFC 9110 §12.5.1).
#pragma once

#include "plait/http/field_list.h"

namespace plait::http {

// True where the request's Accept fields give text/html more weight than text/plain.
bool prefersHtml(const FieldList& fields);

}  // namespace plait::http
