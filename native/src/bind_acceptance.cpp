// Bindings of acceptance.hpp. Trees are those of core/tree.py.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <utility>

#include "acceptance.hpp"
#include "bindings.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using foredraft::Acceptance;
using foredraft::Drafted;

namespace {

// The bytes of a name, which may hold what is no character.
std::string spelling(nb::handle name) {
  const nb::bytes bytes = nb::cast<nb::bytes>(name.attr("encode")("utf-8", "surrogatepass"));
  return std::string(bytes.c_str(), bytes.size());
}

Drafted drafted_of(Acceptance& acceptance, nb::handle tree) {
  Drafted found;
  auto read = [&](const char* name, auto& into) { into = nb::cast<std::remove_reference_t<decltype(into)>>(tree.attr(name)); };
  read("tokens", found.tokens);
  read("parents", found.parents);
  read("score", found.score);
  const nb::tuple sources = nb::cast<nb::tuple>(tree.attr("sources")), probes = nb::cast<nb::tuple>(tree.attr("probes"));
  const size_t nodes = found.parents.size();
  if (found.tokens.size() != nodes || found.score.size() != nodes || nb::len(sources) != nodes || nb::len(probes) != nodes)
    throw std::invalid_argument("the fields of a draft tree are of one length");
  for (size_t node = 0; node < nodes; ++node) {
    if (found.parents[node] < -1 || found.parents[node] >= int(node)) throw std::invalid_argument("a parent does not come before its node");
    const nb::handle name = sources[node];  // as a rule the same object as the one before
    const bool again = node && name.is(sources[node - 1]);
    found.sources.push_back(again ? found.sources.back() : acceptance.source(spelling(name)));
    const int probe = PyObject_IsTrue(nb::handle(probes[node]).ptr());
    if (probe < 0) throw nb::python_error();
    found.probes.push_back(probe > 0);
  }
  return found;
}

nb::object name_of(const std::string& spelling) {
  return nb::bytes(spelling.data(), spelling.size()).attr("decode")("utf-8", "surrogatepass");
}

// A class of depth as Python has it, negative where the node is doubted.
int place_of(int depth) { return depth < Acceptance::DEPTHS ? depth + 1 : Acceptance::DEPTHS - depth - 1; }

nb::dict counts(const Acceptance& acceptance) {
  nb::dict found;
  for (size_t source = 0; source < acceptance.tallies().size(); ++source)
    for (int depth = 0; depth < 2 * Acceptance::DEPTHS; ++depth)
      for (int confidence = 0; confidence < Acceptance::CLASSES; ++confidence)
        if (const auto& tally = acceptance.tallies()[source][size_t(depth)][size_t(confidence)]; tally.trials > 0)
          found[nb::make_tuple(name_of(acceptance.names(int(source))), place_of(depth), confidence)] = nb::make_tuple(tally.trials, tally.hits);
  return found;
}

}  // namespace

void bind_acceptance(nb::module_& module) {
  nb::class_<Acceptance>(module, "Acceptance", "How often drafts are accepted, by who drafted them and how sure that was.")
      .def("__init__",
           [](Acceptance* self, double memory, std::shared_ptr<Acceptance> below) { new (self) Acceptance(memory, std::move(below)); },
           "memory"_a, "below"_a.none() = nb::none())
      .def(
          "look",
          [](Acceptance& self, nb::handle tree) {
            Acceptance::Found found = self.look(drafted_of(self, tree));
            return nb::make_tuple(std::move(found.claimed), std::move(found.chances));
          },
          "tree"_a)
      .def("learn",
           [](Acceptance& self, nb::handle tree, const std::vector<int>& tokens) { self.learn(drafted_of(self, tree), tokens); },
           "tree"_a, "tokens"_a)
      .def("counts", &counts);
}
