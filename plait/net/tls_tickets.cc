#include "plait/net/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

namespace plait {

TicketKeys::~TicketKeys() {
  for (Key& key : keys_) OPENSSL_cleanse(&key, sizeof(key));
  EVP_CIPHER_free(cipher_);
}

bool TicketKeys::make(Key& key) {
  key.is_known = RAND_bytes(key.name.data(), static_cast<int>(key.name.size())) == 1 &&
                 RAND_priv_bytes(key.cipher.data(), static_cast<int>(key.cipher.size())) == 1 &&
                 RAND_priv_bytes(key.mac.data(), static_cast<int>(key.mac.size())) == 1;
  return key.is_known;
}

bool TicketKeys::start() {
  cipher_ = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
  return cipher_ != nullptr && make(keys_[0]);
}

void TicketKeys::rotate(TimeNs now_ns) {
  now_ns_.store(now_ns, std::memory_order_relaxed);
  if (const TimeNs due = rotate_ns_.load(std::memory_order_relaxed); due != 0 && now_ns < due) [[likely]]
    return;
  const std::lock_guard lock(mutex_);
  TimeNs due = rotate_ns_.load(std::memory_order_relaxed);
  if (due == 0) {
    rotate_ns_.store(now_ns + period_ns, std::memory_order_relaxed);
    return;
  }
  for (; due <= now_ns; due += period_ns) {
    // After a long silence no key is left that anybody could have learned meanwhile.
    constexpr auto others = static_cast<TimeNs>(key_count) - 1;
    const TimeNs passed = (now_ns - due) / period_ns;
    if (passed > others) due += (passed - others) * period_ns;
    Key made;
    // Without randomness the present keys serve for another period: the alternative is to serve nobody.
    if (!make(made)) continue;
    std::move_backward(keys_.begin(), keys_.end() - 1, keys_.end());
    keys_[0] = made;
  }
  rotate_ns_.store(due, std::memory_order_relaxed);
}

int TicketKeys::use(unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, bool seals) {
  Key key;
  bool is_newest = true;
  {
    const std::lock_guard lock(mutex_);
    const auto found = seals ? keys_.begin() : std::find_if(keys_.begin(), keys_.end(), [name](const Key& known) {
      return known.is_known && std::memcmp(known.name.data(), name, known.name.size()) == 0;
    });
    if (found == keys_.end()) return 0;
    is_newest = found == keys_.begin();
    key = *found;
  }
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
  bool ok = EVP_MAC_CTX_set_params(mac, parameters) == 1;
  if (seals) {
    std::memcpy(name, key.name.data(), key.name.size());
    ok = ok && RAND_bytes(iv, EVP_CIPHER_get_iv_length(cipher_)) == 1 &&
         EVP_EncryptInit_ex(cipher, cipher_, nullptr, key.cipher.data(), iv) == 1;
  } else {
    ok = ok && EVP_DecryptInit_ex(cipher, cipher_, nullptr, key.cipher.data(), iv) == 1;
  }
  OPENSSL_cleanse(&key, sizeof(key));
  if (!ok) return -1;
  return is_newest ? 1 : 2;
}

}  // namespace plait
