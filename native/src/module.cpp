// The Python module foredraft._native: bindings only, each next to nothing; the work is in the files they name.
#include "bindings.hpp"

NB_MODULE(_native, module) {
  module.doc() = "The native engine of foredraft, and twins of its hot pure functions.";
  // Python drops what is still alive at its end without a word, and so do we.
  nanobind::set_leak_warnings(false);
  bind_gguf(module);
  bind_isa(module);
  bind_weights(module);
  bind_engine(module);
  bind_stream(module);
  bind_sampling(module);
  bind_matches(module);
  bind_block(module);
  bind_residual(module);
  bind_eagle(module);
  bind_successors(module);
  bind_acceptance(module);
  // Python's last moment at which threads can still come back to it.
  nanobind::module_::import_("atexit").attr("register")(nanobind::cpp_function([] {
    nanobind::gil_scoped_release released;
    foredraft::Gate::of_process().close();
  }));
}
