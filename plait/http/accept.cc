#include "plait/http/accept.h"

#include "plait/http/field_rules.h"

namespace plait::http {
namespace {

// A weight in thousandths (RFC 9110 §12.4.2); one that is malformed counts as none.
unsigned weightOf(std::string_view digits) {
  unsigned weight = 0;
  unsigned unit = 1000;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i == 1) {
      if (digits[i] != '.') return 0;
      continue;
    }
    if (!isOfClass(digits[i], class_digit) || unit == 0) return 0;
    weight += static_cast<unsigned>(digits[i] - '0') * unit;
    unit /= 10;
  }
  return weight <= 1000 ? weight : 0;
}

// The weight of the most specific range that a type of text matches; a range of its own subtype counts more than
// text/*, and that more than */*.
struct Weight {
  unsigned value = 0;
  unsigned specificity = 0;

  void meet(std::string_view range, std::string_view type, unsigned weight) {
    const unsigned rank = equalsIgnoreCase(range, type)       ? 3
                          : equalsIgnoreCase(range, "text/*") ? 2
                          : range == "*/*"                    ? 1
                                                              : 0;
    if (rank == 0 || rank < specificity) return;
    specificity = rank;
    value = weight;
  }
};

}  // namespace

bool prefersHtml(const FieldList& fields) {
  Weight html;
  Weight plain;
  for (size_t i = fields.find(FieldName::accept); i < fields.count(); i = fields.find(FieldName::accept, i + 1)) {
    std::string_view list = fields[i].value;
    std::string_view element;
    while (nextListElement(list, element)) {
      size_t end = element.find(';');
      const std::string_view range = trimWhitespace(element.substr(0, end));
      unsigned weight = 1000;
      bool has_other_parameters = false;
      while (end != element.npos) {
        element.remove_prefix(end + 1);
        end = element.find(';');
        const std::string_view parameter = trimWhitespace(element.substr(0, end));
        if (parameter.starts_with("q=") || parameter.starts_with("Q=")) {
          weight = weightOf(parameter.substr(2));
        } else if (!parameter.empty()) {
          has_other_parameters = true;
        }
      }
      // "text/html;level=1" asks for another representation than the one there is.
      if (has_other_parameters) continue;
      html.meet(range, "text/html", weight);
      plain.meet(range, "text/plain", weight);
    }
  }
  return html.value > plain.value;
}

}  // namespace plait::http
