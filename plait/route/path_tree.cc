#include "plait/route/path_tree.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "plait/base/assert.h"
#include "plait/base/bytes.h"

namespace plait::route {
namespace {

// Paths in the order in which a node's subtree lies together: "/" comes before all other bytes, the end before it.
bool comesBefore(std::string_view a, std::string_view b) {
  const size_t size = std::min(a.size(), b.size());
  size_t i = 0;
  while (i + 8 <= size && std::memcmp(a.data() + i, b.data() + i, 8) == 0) i += 8;
  while (i < size && a[i] == b[i]) i += 1;
  if (i == size) return a.size() < b.size();
  const auto rank = [](char c) { return c == '/' ? 0 : static_cast<uint8_t>(c) + 1; };
  return rank(a[i]) < rank(b[i]);
}

// Where the element that begins at `from` ends. Elements are short, so eight bytes at a time find it without a call.
size_t elementEnd(std::string_view path, size_t from) {
  constexpr uint64_t ones = 0x0101010101010101;
  size_t at = from;
  for (; at + sizeof(uint64_t) <= path.size(); at += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, path.data() + at, sizeof(word));
    word ^= '/' * ones;
    // The lowest zero byte is marked exactly; marks above it may be false.
    const uint64_t marks = (word - ones) & ~word & (0x80 * ones);
    if (marks != 0) return at + static_cast<size_t>(std::countr_zero(marks)) / 8;
  }
  while (at < path.size() && path[at] != '/') at += 1;
  return at;
}

// Where the whole elements end that both texts have from `from` on, one at least being the same.
size_t commonEnd(std::string_view a, std::string_view b, size_t from) {
  size_t end = elementEnd(a, from);
  while (end < a.size() && end < b.size()) {
    const size_t a_next = elementEnd(a, end + 1);
    const size_t b_next = elementEnd(b, end + 1);
    if (a_next != b_next || a.substr(end, a_next - end) != b.substr(end, b_next - end)) break;
    end = a_next;
  }
  return end;
}

uint64_t multiplied(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

// A node whose children are to be made: its items from `first` on, whose paths are the same up to `depth`.
struct PathTree::Work {
  uint32_t node;
  size_t first;
  size_t end;
  size_t depth;
  bool is_root;
};

// With a key against paths that were chosen for their hash. The routes are not the clients', so a collision costs one
// comparison.
uint32_t PathTree::hashOf(std::string_view element) const {
  constexpr uint64_t odd_bits = 0x9e3779b97f4a7c15;
  const char* text = element.data();
  const size_t size = element.size();
  const auto load = [](const char* from) {
    uint64_t word;
    std::memcpy(&word, from, sizeof(word));
    return word;
  };
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t hash = hash_key_ ^ size;
  if (size >= 8) {
    for (size_t i = 8; i < size - 8; i += 8) hash = multiplied(hash ^ load(text + i), odd_bits);
    first = load(text);
    last = load(text + size - 8);
  } else if (size >= 4) {
    uint32_t low;
    uint32_t high;
    std::memcpy(&low, text, sizeof(low));
    std::memcpy(&high, text + size - 4, sizeof(high));
    first = low;
    last = high;
  } else if (size != 0) {
    first = uint64_t{static_cast<uint8_t>(text[0])} << 16 | uint64_t{static_cast<uint8_t>(text[size / 2])} << 8 |
            static_cast<uint8_t>(text[size - 1]);
  }
  hash = multiplied(hash ^ first, odd_bits ^ last);
  return static_cast<uint32_t>(multiplied(hash, odd_bits) >> 32);
}

// Whether the label's first element is that one.
bool PathTree::beginsWith(const Node& node, std::string_view element) const {
  if (node.label_size < element.size()) return false;
  const std::string_view label = labelOf(node);
  if (label.size() > element.size() && label[element.size()] != '/') return false;
  return equalShort(label.data(), element.data(), element.size());
}

uint32_t PathTree::add(std::span<Item> items) {
  for (size_t i = 0; i < items.size(); ++i) items[i].order = static_cast<uint32_t>(i);
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    if (a.path != b.path) return comesBefore(a.path, b.path);
    return a.is_prefix == b.is_prefix ? a.order < b.order : b.is_prefix;
  });
  const auto root = static_cast<uint32_t>(nodes_.size());
  nodes_.emplace_back();
  std::vector<Work> works{{root, 0, items.size(), 0, true}};
  for (size_t i = 0; i < works.size(); ++i) {
    const Work work = works[i];
    place(work, items, works);
  }
  return root;
}

void PathTree::place(const Work& work, std::span<Item> items, std::vector<Work>& later) {
  const auto textOf = [&](size_t item) { return items[item].path.substr(1); };
  size_t at = work.first;
  nodes_[work.node].candidates = static_cast<uint32_t>(candidates_.size());
  for (; at < work.end && textOf(at).size() == work.depth; ++at) {
    candidates_.push_back(items[at].candidate);
    (items[at].is_prefix ? nodes_[work.node].prefix_count : nodes_[work.node].exact_count) += 1;
  }
  if (at - work.first == 1) {
    nodes_[work.node].only = candidates_.back();
    candidates_.pop_back();
  }
  const auto first_child = static_cast<uint32_t>(nodes_.size());
  const size_t start = work.is_root ? 0 : work.depth + 1;
  const uint32_t up = nodes_[work.node].prefix_count != 0 ? work.node : nodes_[work.node].up;
  while (at < work.end) {
    const std::string_view path = textOf(at);
    const std::string_view element = path.substr(start, elementEnd(path, start) - start);
    size_t end = at + 1;
    while (end < work.end) {
      const std::string_view other = textOf(end);
      if (other.substr(start, elementEnd(other, start) - start) != element) break;
      end += 1;
    }
    const size_t depth = commonEnd(path, textOf(end - 1), start);
    Node child;
    const std::string_view label = path.substr(start, depth - start);
    child.label_size = static_cast<uint32_t>(label.size());
    child.up = up;
    if (label.size() <= Node::short_label) {
      copyShort(child.text, label.data(), label.size());
    } else {
      child.label = static_cast<uint32_t>(labels_.size());
      labels_ += label;
    }
    later.push_back({static_cast<uint32_t>(nodes_.size()), at, end, depth, false});
    nodes_.push_back(child);
    at = end;
  }
  Node& node = nodes_[work.node];
  node.first_child = first_child;
  node.child_count = static_cast<uint32_t>(nodes_.size()) - first_child;
  hashChildren(node);
}

void PathTree::hashChildren(Node& node) {
  hashes_.resize(nodes_.size());
  for (uint32_t child = node.first_child; child < node.first_child + node.child_count; ++child) {
    const std::string_view label = labelOf(nodes_[child]);
    hashes_[child] = hashOf(label.substr(0, elementEnd(label, 0)));
  }
  if (node.child_count <= few_children) return;
  const uint32_t mask = slotsMask(node);
  node.slots = static_cast<uint32_t>(slots_.size());
  slots_.resize(slots_.size() + mask + 1);
  for (uint32_t child = node.first_child; child < node.first_child + node.child_count; ++child) {
    uint32_t place = hashes_[child] & mask;
    while (slots_[node.slots + place].child != no_node) place = (place + 1) & mask;
    slots_[node.slots + place] = {hashes_[child], child};
  }
}

uint32_t PathTree::childOf(const Node& node, std::string_view element) const {
  if (node.child_count == 1) return beginsWith(nodes_[node.first_child], element) ? node.first_child : no_node;
  const uint32_t hash = hashOf(element);
  if (node.child_count <= few_children) {
    for (uint32_t child = node.first_child; child < node.first_child + node.child_count; ++child) {
      if (hashes_[child] == hash && beginsWith(nodes_[child], element)) return child;
    }
    return no_node;
  }
  const uint32_t mask = slotsMask(node);
  for (uint32_t place = hash & mask;; place = (place + 1) & mask) {
    const Slot& slot = slots_[node.slots + place];
    if (slot.child == no_node) return no_node;
    if (slot.hash == hash && beginsWith(nodes_[slot.child], element)) return slot.child;
  }
}

PathTree::Spot PathTree::walk(uint32_t root, std::string_view path) const {
  if (path.empty() || path.front() != '/') return {root, false};
  path.remove_prefix(1);
  if (path.empty()) return {root, true};
  uint32_t at = root;
  size_t start = 0;
  while (nodes_[at].child_count != 0) {
    const size_t end = elementEnd(path, start);
    const uint32_t child = childOf(nodes_[at], path.substr(start, end - start));
    if (child == no_node) break;
    // The label's other elements, if there are some.
    const size_t label_size = nodes_[child].label_size;
    const size_t label_end = start + label_size;
    if (label_end != end) {
      if (label_end > path.size() || (label_end < path.size() && path[label_end] != '/')) break;
      if (std::memcmp(path.data() + start, labelOf(nodes_[child]).data(), label_size) != 0) break;
    }
    at = child;
    if (label_end == path.size()) return {at, true};
    start = label_end + 1;
  }
  return {at, false};
}

void PathTree::finish() {
  nodes_.shrink_to_fit();
  hashes_.shrink_to_fit();
  slots_.shrink_to_fit();
  candidates_.shrink_to_fit();
  labels_.shrink_to_fit();
}

size_t PathTree::bytes() const {
  return nodes_.capacity() * sizeof(Node) + hashes_.capacity() * sizeof(uint32_t) + slots_.capacity() * sizeof(Slot) +
         candidates_.capacity() * sizeof(Candidate) + labels_.capacity();
}

}  // namespace plait::route
