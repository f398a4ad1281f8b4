// The Python module foredraft._native: bindings only, each next to nothing; the work is in the files they name.
#include "bindings.hpp"

NB_MODULE(_native, module) {
  module.doc() = "The native engine of foredraft, and twins of its hot pure functions.";
  bind_isa(module);
  bind_sampling(module);
}
