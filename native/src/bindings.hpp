// What each bind_*.cpp adds to the Python module.
#pragma once

#include <nanobind/nanobind.h>

void bind_gguf(nanobind::module_& module);
void bind_isa(nanobind::module_& module);
void bind_engine(nanobind::module_& module);
void bind_stream(nanobind::module_& module);
void bind_sampling(nanobind::module_& module);
void bind_matches(nanobind::module_& module);
