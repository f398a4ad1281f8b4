// Bindings of successors.hpp.
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "successors.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using foredraft::Successors;

namespace {

using Ids = std::vector<int32_t>;
using Floats = std::vector<double>;

nb::tuple tuple_of(const auto& numbers) {
  nb::list found;
  for (const auto number : numbers) found.append(number);
  return nb::tuple(found);
}

// The rows of a tree that was verified: `nodes` of it, -1 for the root, in the order in which they are taken in.
void take_in(Successors& table, const Ids& text, const Ids& tokens, const Ids& parents, const Ids& nodes,
          const std::vector<std::pair<Ids, Floats>>& readings) {
  if (tokens.size() != parents.size() || nodes.size() != readings.size())
    throw std::invalid_argument("every node has a token and a parent, and every row a reading");
  std::vector<Ids> contexts{text};
  for (size_t node = 0; node < tokens.size(); ++node) {
    if (parents[node] < -1 || parents[node] >= int32_t(node)) throw std::invalid_argument("a parent does not come before its node");
    Ids context = contexts[size_t(parents[node] + 1)];
    context.push_back(tokens[node]);
    if (context.size() > table.longest()) context.erase(context.begin(), context.end() - int64_t(table.longest()));
    contexts.push_back(std::move(context));
  }
  for (const Ids& context : contexts) table.ask_for(context);
  for (size_t row = 0; row < nodes.size(); ++row) {
    const auto& [ids, logits] = readings[row];
    if (nodes[row] < -1 || nodes[row] >= int32_t(tokens.size())) throw std::invalid_argument("there is no such node");
    if (logits.empty() || !std::isfinite(logits[0])) continue;
    table.learn(contexts[size_t(nodes[row] + 1)], ids, foredraft::among_themselves(logits));
  }
}

template <class T>
using Array = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Rows of arrays; a negative token fills contexts from the left, and rows from the right.
void fill(Successors& table, Array<int32_t> contexts, Array<int32_t> tokens, Array<float> probs) {
  if (contexts.shape(0) != tokens.shape(0) || tokens.shape(0) != probs.shape(0) || tokens.shape(1) != probs.shape(1))
    throw std::invalid_argument("every context has a row, and every token a probability");
  const size_t longest = contexts.shape(1), width = tokens.shape(1);
  Ids context, row;
  Floats chances;
  for (size_t at = 0; at < contexts.shape(0); ++at) {
    context.clear(), row.clear(), chances.clear();
    for (size_t i = 0; i < longest; ++i)
      if (contexts.data()[at * longest + i] >= 0) context.push_back(contexts.data()[at * longest + i]);
    for (size_t i = 0; i < width && tokens.data()[at * width + i] >= 0; ++i) {
      row.push_back(tokens.data()[at * width + i]);
      chances.push_back(probs.data()[at * width + i]);
    }
    table.put(context, row, chances);
  }
}

nb::list rows_of(const Successors& table) {
  nb::list found;
  table.each([&](const Ids& context, const Successors::Row& row) {
    found.append(nb::make_tuple(tuple_of(context), tuple_of(row.tokens), tuple_of(row.probs)));
  });
  return found;
}

}  // namespace

void bind_successors(nb::module_& module) {
  nb::class_<Successors>(module, "Successors", "Rows of likely successors, by the few tokens before them.")
      .def("__init__",
           [](Successors* self, const std::vector<std::pair<double, double>>& trusts, size_t width, double share,
              std::shared_ptr<Successors> base) {
             std::vector<foredraft::Trust> given;
             for (const auto& [weight, doubt] : trusts) given.push_back({weight, doubt});
             new (self) Successors(std::move(given), width, share, std::move(base));
           },
           "trusts"_a, "width"_a, "share"_a, "base"_a.none() = nb::none())
      .def("copy", [](const Successors& table) { return std::make_shared<Successors>(table); })
      .def("learn", [](Successors& table, const Ids& text, const Ids& tokens, const Floats& probs) { table.learn(text, tokens, probs); },
           "text"_a, "tokens"_a, "probs"_a)
      .def("said", [](Successors& table, const Ids& text, double prob) { table.said(text, prob); }, "text"_a, "prob"_a)
      .def("read", &take_in, "text"_a, "tokens"_a, "parents"_a, "nodes"_a, "readings"_a)
      .def("put", [](Successors& table, const Ids& context, const Ids& tokens, const Floats& probs) { table.put(context, tokens, probs); },
           "context"_a, "tokens"_a, "probs"_a)
      .def("draft",
           [](const Successors& table, const Ids& text, int64_t rows, int64_t depth, double least) {
             Successors::Grown grown = table.draft(text, rows, depth, least);
             return std::make_tuple(std::move(grown.tokens), std::move(grown.parents), std::move(grown.score));
           },
           "text"_a, "rows"_a, "depth"_a, "least"_a)
      .def("take", &Successors::take, "learnt"_a, "share"_a)
      .def("over",
           [](const Successors& table, std::shared_ptr<Successors> known) { return table.over(known.get()); },
           "known"_a.none())
      .def("fill", &fill, "contexts"_a, "tokens"_a, "probs"_a)
      .def("rows", &rows_of)
      .def_prop_ro("base", [](const Successors& table) { return std::const_pointer_cast<Successors>(table.base()); })
      .def("__len__", &Successors::size);
}
