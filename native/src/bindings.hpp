// What each bind_*.cpp adds to the Python module, and how its functions leave the interpreter to compute.
#pragma once

#include <nanobind/nanobind.h>
#include <unistd.h>

#include "gate.hpp"

void bind_gguf(nanobind::module_& module);
void bind_isa(nanobind::module_& module);
void bind_weights(nanobind::module_& module);
void bind_engine(nanobind::module_& module);
void bind_stream(nanobind::module_& module);
void bind_sampling(nanobind::module_& module);
void bind_matches(nanobind::module_& module);
void bind_block(nanobind::module_& module);
void bind_residual(nanobind::module_& module);
void bind_eagle(nanobind::module_& module);
void bind_successors(nanobind::module_& module);
void bind_acceptance(nanobind::module_& module);

// While it lives its thread computes without the interpreter's lock, and forks and the end of the process wait for it.
class Away {
 public:
  Away() : gate_(foredraft::Gate::of_process()) {
    const bool may = gate_.leave();
    state_ = PyEval_SaveThread();
    while (!may) pause();  // what would come back to no interpreter waits for the end of the process here
    gate_.begin();
  }
  ~Away() {
    gate_.end();
    PyEval_RestoreThread(state_);
    gate_.back();
  }
  Away(const Away&) = delete;
  Away& operator=(const Away&) = delete;

 private:
  foredraft::Gate& gate_;
  PyThreadState* state_;
};
