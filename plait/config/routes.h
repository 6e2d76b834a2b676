// The sections [[cluster]] and [[route]], and what is wrong with them as a whole.
#pragma once

#include "plait/config/config.h"

namespace plait {

class TableReader;

void readCluster(TableReader& in, Config& out);
void readRoute(TableReader& in, Config& out);
// One backend, of a cluster or of the top level.
void readBackend(TableReader& in, std::vector<BackendConfig>& out);

// What only the whole can tell: names that are said twice, clusters that nobody has, actions that exclude each other.
void completeRoutes(Config& config, std::vector<ConfigError>& errors);

}  // namespace plait
