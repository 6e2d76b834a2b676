#include "plait/h2/sound_field.h"

#include "plait/http/field_rules.h"

namespace plait::h2 {

using http::FieldName;

bool isScheme(std::string_view text) {
  if (text.empty() || http::isOfClass(text[0], http::class_digit)) return false;
  for (const char c : text) {
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!is_letter && !http::isOfClass(c, http::class_digit) && c != '+' && c != '-' && c != '.') return false;
  }
  return text[0] != '+' && text[0] != '-' && text[0] != '.';
}

bool isSoundField(std::string_view name, std::string_view value, FieldName id) {
  switch (id) {
    case FieldName::pseudo_method:
    case FieldName::pseudo_protocol:
      return http::isToken(value);
    case FieldName::pseudo_scheme:
      return isScheme(value);
    case FieldName::pseudo_path:
      return http::isOriginForm(value);
    case FieldName::pseudo_authority:
      return value.empty() || http::isAuthority(value);
    case FieldName::pseudo_status:
      return value.size() == 3 && value[0] >= '1' && value[0] <= '5' && http::isOfClass(value[1], http::class_digit) &&
             http::isOfClass(value[2], http::class_digit);
    case FieldName::unknown:
      return http::isLowerCaseToken(name) && http::isFieldValue(value);
    default:
      // A name that has a number is one of ours and lower case.
      return http::isFieldValue(value);
  }
}

}  // namespace plait::h2
