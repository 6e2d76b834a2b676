// OpenSSL sets itself up lazily: tables, algorithms, locks, each once in a process. Where such a first time meets an
// arena that is at its end, the failure is remembered for good and no handshake of the process succeeds again. So all
// of it is brought forward to the start of the process, where memory comes from malloc.
#pragma once

namespace plait {

// Runs a handshake of each version in memory, with a certificate of its own that nobody sees. Only the first call does
// anything; making a TlsContext calls it. Takes some milliseconds. Failures are left for the real handshakes to report.
void warmUpTls();

}  // namespace plait
