#include <nanobind/stl/vector.h>

#include "bindings.hpp"
#include "stream.hpp"

void bind_stream(nanobind::module_& module) {
  namespace nb = nanobind;
  module.def("read_bandwidth", &foredraft::read_bandwidth, nb::arg("bytes"), nb::arg("threads"), nb::arg("repeats"),
             nb::call_guard<nb::gil_scoped_release>(),
             "GB/s of reading a buffer of `bytes` from end to end with `threads` threads, one figure a repeat.");
}
