// Proxy-Status (RFC 9209): the word that tells a client's software what went wrong behind plait.
#pragma once

#include <string_view>

#include "plait/base/error.h"

namespace plait {

// The error type of RFC 9209 §2.3 that an error stands for.
std::string_view proxyErrorOf(const Error& error);

}  // namespace plait
