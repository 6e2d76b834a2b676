// Radix trees over the elements of paths, one for each site, in one piece of flat memory. A node stands for a path; its
// label is one element or, where nothing branches, several. Children of a node are found by a keyed hash of their first
// element, so a walk looks at each element of a path once, however many routes there are.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plait/route/predicates.h"

namespace plait::route {

class PathTree {
 public:
  static constexpr uint32_t no_node = UINT32_MAX;
  // A route's place in a tree.
  struct Item {
    std::string_view path;  // as readingOfRoute() gives it
    bool is_prefix = false;
    Candidate candidate;
    uint32_t order = 0;  // add() sets it
  };

  explicit PathTree(uint64_t hash_key = 0) : hash_key_(hash_key) {}

  // Adds a tree; its number is for walk(). Items of one path come in the order in which they are to be asked; `items`
  // is sorted in place.
  uint32_t add(std::span<Item> items);
  void finish();

  // Where a path leads.
  struct Spot {
    uint32_t node = no_node;  // the deepest whose path is the path, or its beginning by whole elements
    bool is_whole = false;    // it is the path
  };
  Spot walk(uint32_t root, std::string_view path) const;

  // Routes whose exact path leads to the spot.
  std::span<const Candidate> exact(const Spot& spot) const {
    if (!spot.is_whole) return {};
    return {candidatesOf(nodes_[spot.node]), nodes_[spot.node].exact_count};
  }
  // The deepest node from `spot` upwards that has routes by prefix, and the next above it.
  uint32_t firstPrefix(const Spot& spot) const {
    return nodes_[spot.node].prefix_count != 0 ? spot.node : nodes_[spot.node].up;
  }
  uint32_t nextPrefix(uint32_t node) const { return nodes_[node].up; }
  std::span<const Candidate> prefix(uint32_t node) const {
    return {candidatesOf(nodes_[node]) + nodes_[node].exact_count, nodes_[node].prefix_count};
  }

  size_t bytes() const;

 private:
  // One line of the cache.
  struct alignas(64) Node {
    static constexpr uint32_t short_label = 16;
    // The label, without the slash in front, if it is short; else where it is in labels_.
    union {
      char text[short_label] = {};
      uint32_t label;
    };
    uint32_t label_size = 0;
    uint32_t first_child = 0;  // children lie side by side
    uint32_t child_count = 0;
    uint32_t slots = 0;       // in slots_, for more than few_children: their hash table
    uint32_t candidates = 0;  // in candidates_: exact ones first
    uint32_t exact_count = 0;
    uint32_t prefix_count = 0;
    uint32_t up = no_node;  // the nearest node above that has routes by prefix
    Candidate only;         // where there is one candidate, it lies here
  };
  static_assert(sizeof(Node) == 64);
  const Candidate* candidatesOf(const Node& node) const {
    return node.exact_count + node.prefix_count == 1 ? &node.only : candidates_.data() + node.candidates;
  }
  struct Slot {
    uint32_t hash = 0;
    uint32_t child = no_node;  // no_node: free
  };
  struct Work;
  static constexpr uint32_t few_children = 6;
  // Of a node with many children: a power of two, half of them free at least, less one.
  static uint32_t slotsMask(const Node& node) { return std::bit_ceil(node.child_count * 2) - 1; }

  void place(const Work& work, std::span<Item> items, std::vector<Work>& later);
  void hashChildren(Node& node);
  uint32_t childOf(const Node& node, std::string_view element) const;
  uint32_t hashOf(std::string_view element) const;
  std::string_view labelOf(const Node& node) const {
    return {node.label_size <= Node::short_label ? node.text : labels_.data() + node.label, node.label_size};
  }
  bool beginsWith(const Node& node, std::string_view element) const;

  uint64_t hash_key_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> hashes_;  // of the first element of each node's label
  std::vector<Slot> slots_;
  std::vector<Candidate> candidates_;
  std::string labels_;
};

}  // namespace plait::route
