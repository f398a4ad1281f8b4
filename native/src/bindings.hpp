// What each bind_*.cpp adds to the Python module.
#pragma once

#include <nanobind/nanobind.h>

void bind_isa(nanobind::module_& module);
void bind_sampling(nanobind::module_& module);
