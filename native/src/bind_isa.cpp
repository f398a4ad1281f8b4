#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.hpp"
#include "isa.hpp"

void bind_isa(nanobind::module_& module) {
  module.def(
      "usable_isas",
      [] {
        std::vector<std::string> names;
        for (auto isa : foredraft::usable_isas()) names.emplace_back(foredraft::name_of(isa));
        return names;
      },
      "The instruction sets whose kernels can run here, ascending.");
  module.def("chosen_isa", [] { return std::string(foredraft::name_of(foredraft::choose_isa())); },
             "The one that is used: the best, or what FOREDRAFT_ISA names. ValueError when that cannot run.");
}
