// What the bindings of the engine's parts share: arrays in and out, and what is chosen by name.
#pragma once

#include <nanobind/ndarray.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "buffer.hpp"
#include "isa.hpp"
#include "products.hpp"

using Floats = nanobind::ndarray<const float, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;

// A numpy view that keeps its memory alive.
template <size_t N>
nanobind::ndarray<nanobind::numpy, float> view(const std::shared_ptr<foredraft::Buffer>& memory, const size_t (&shape)[N]) {
  using Memory = std::shared_ptr<foredraft::Buffer>;
  nanobind::capsule owner(new Memory(memory), [](void* p) noexcept { delete static_cast<Memory*>(p); });
  return nanobind::ndarray<nanobind::numpy, float>(memory->as<float>(), N, shape, owner);
}

inline foredraft::Activations activations_named(const std::string& name) {
  using foredraft::Activations;
  if (name == "int8") return Activations::int8;
  if (name == "int16") return Activations::int16;
  if (name == "f32") return Activations::f32;
  throw std::invalid_argument("activations are int8, int16 or f32, not " + name);
}

inline foredraft::Isa isa_or_best(const std::string& name) {
  return name.empty() ? foredraft::choose_isa() : foredraft::isa_named(name);
}
