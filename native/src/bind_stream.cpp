#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.hpp"
#include "stream.hpp"

void bind_stream(nanobind::module_& module) {
  namespace nb = nanobind;
  module.def(
      "read_bandwidth",
      [](std::size_t bytes, int threads, int repeats, const std::string& isa) {
        const auto chosen = foredraft::isa_named(isa);
        const Away away;
        return foredraft::read_bandwidth(bytes, threads, repeats, chosen);
      },
      nb::arg("bytes"), nb::arg("threads"), nb::arg("repeats"), nb::arg("isa") = "auto",
      "GB/s of reading a buffer of `bytes` from end to end with `threads` threads, one figure a repeat.\n\n"
      "isa: whose widest loads; the machine's best, whatever FOREDRAFT_ISA says of the engine.");
}
