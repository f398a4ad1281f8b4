#include "weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include "pool.hpp"

namespace foredraft {
namespace {

constexpr int LARGEST = 1 << 24;  // of any size

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

void matrix(const Matrix& m, int outputs, int inputs, const std::string& name) {
  if (!m) refuse("there is no " + name);
  if (m->outputs != size_t(outputs) || m->inputs != size_t(inputs))
    refuse(name + " is " + std::to_string(m->outputs) + " x " + std::to_string(m->inputs) + ", not " +
           std::to_string(outputs) + " x " + std::to_string(inputs));
}

void vector(const Vector& v, int size, bool needed, const std::string& name) {
  if (v.empty() && !needed) return;
  if (v.size() != size_t(size)) refuse(name + " has " + std::to_string(v.size()) + " entries, not " + std::to_string(size));
}

// entering: width of what attention reads where that is given with each row, else 0.
void layer(const Layer& l, const Config& c, int entering, const std::string& at) {
  const int queries = c.heads * c.head_size, keys = c.kv_heads * c.head_size, inputs = entering ? entering : c.width;
  matrix(l.query, queries, inputs, at + "query");
  matrix(l.key, keys, inputs, at + "key");
  matrix(l.value, keys, inputs, at + "value");
  matrix(l.out, c.width, queries, at + "out");
  matrix(l.gate, c.hidden, c.width, at + "gate");
  matrix(l.up, c.hidden, c.width, at + "up");
  matrix(l.down, c.width, c.hidden, at + "down");
  vector(l.attention_norm, c.width, !entering, at + "attention norm");
  vector(l.hidden_norm, c.width, true, at + "hidden norm");
  vector(l.after_attention_norm, c.width, false, at + "norm after attention");
  vector(l.after_hidden_norm, c.width, false, at + "norm after the hidden layer");
  vector(l.query_norm, c.head_size, false, at + "query norm");
  vector(l.key_norm, c.head_size, false, at + "key norm");
  vector(l.query_bias, queries, false, at + "query bias");
  vector(l.key_bias, keys, false, at + "key bias");
  vector(l.value_bias, keys, false, at + "value bias");
  vector(l.out_bias, c.width, false, at + "out bias");
  vector(l.frequencies, c.rotated / 2, true, at + "rotation");
  if (l.window < 0) refuse(at + "window is negative");
}

// Matrices that lie panel by panel in turn.
using Unit = std::vector<Matrix*>;

size_t bytes_of(const Unit& unit) {
  size_t bytes = 0;
  for (const Matrix* m : unit) bytes += (*m)->nbytes();
  return bytes;
}

bool paired(const Packed& m) { return m.stride != m.panel_bytes; }
bool pairs(const Layer& l) {
  return l.gate && l.up && l.gate != l.up && l.gate->panels() == l.up->panels() && !paired(*l.gate) && !paired(*l.up);
}

// Copies a unit into a buffer from `offset` on.
void lay(const Unit& unit, const std::shared_ptr<const Buffer>& whole, size_t offset, Pool& pool) {
  size_t stride = 0;
  for (const Matrix* m : unit) stride += (*m)->panel_bytes;
  for (Matrix* m : unit) {
    const Packed& from = **m;
    auto to = std::make_shared<Packed>();
    to->kind = from.kind, to->outputs = from.outputs, to->inputs = from.inputs;
    to->panel_bytes = from.panel_bytes, to->stride = stride;
    to->data = Buffer(whole, offset, (from.panels() - 1) * stride + from.panel_bytes);
    pool.run([&](Worker& worker) {
      worker.each(from.panels(), 4, [&](size_t panel) {
        std::memcpy(to->data.data() + panel * stride, from.panel(panel), from.panel_bytes);
      });
    });
    offset += from.panel_bytes;
    *m = std::move(to);
  }
}

}  // namespace

size_t Weights::nbytes() const {
  std::set<const Packed*> seen{embedding.get(), head.get()};
  for (const Layer& l : layers)
    for (const Matrix& m : {l.query, l.key, l.value, l.out, l.gate, l.up, l.down}) seen.insert(m.get());
  size_t total = 0;
  for (const Packed* packed : seen) total += packed ? packed->nbytes() : 0;
  return total;
}

void check(const Weights& w) {
  const Config& c = w.config;
  for (int size : {c.width, c.heads, c.kv_heads, c.head_size, c.hidden, c.vocabulary, c.context})
    if (size < 1 || size > LARGEST) refuse("a size of the model is impossible: " + std::to_string(size));
  if (c.heads > LARGEST / c.head_size)  // no product, which may overflow
    refuse(std::to_string(c.heads) + " heads of " + std::to_string(c.head_size) + " are impossible");
  for (float number : {c.epsilon, c.embedding_scale, c.score_scale})
    if (!(number > 0) || !std::isfinite(number)) refuse("a setting of the model is no positive number: " + std::to_string(number));
  if (c.heads % c.kv_heads) refuse("the heads do not share the heads of keys evenly");
  if (c.width % GROUP || c.head_size % PANEL || c.hidden % GROUP || c.head_size > 512 || (c.heads / c.kv_heads * c.head_size) % GROUP)
    refuse("the native engine needs widths that are multiples of 32, as of the heads that share keys, and heads of at most "
           "512 in multiples of 16");
  if (c.entering < 0 || c.entering > LARGEST || c.entering % GROUP) refuse("what enters the first layer is of an impossible width");
  if (c.rotated < 0 || c.rotated > c.head_size || c.rotated % 2) refuse("a rotation of such a part of a head is impossible");
  if (!w.embedding || w.embedding->inputs != size_t(c.width) || w.embedding->outputs < size_t(c.vocabulary))
    refuse("the embedding does not fit the model");
  if (!w.head || w.head->inputs != size_t(c.width) || w.head->outputs < w.head_rows()) refuse("the head does not fit the model");
  for (size_t i = 0; i < w.says.size(); ++i)
    if (w.says[i] < 0 || w.says[i] >= c.vocabulary || (i && w.says[i] <= w.says[i - 1]))
      refuse("the tokens of the head do not ascend within the vocabulary");
  vector(w.final_norm, c.width, false, "final norm");
  for (size_t i = 0; i < w.layers.size(); ++i) layer(w.layers[i], c, i ? 0 : c.entering, "layer " + std::to_string(i) + " ");
}

void pair(Layer& layer, Pool& pool) {
  Unit unit{&layer.gate, &layer.up};
  if (!pairs(layer) || bytes_of(unit) < Buffer::LARGE) return;
  lay(unit, std::make_shared<const Buffer>(Buffer::unset(bytes_of(unit))), 0, pool);
}

void gather(Weights& w, Pool& pool) {
  std::vector<Unit> units, small;
  for (Layer& l : w.layers) {
    for (Matrix* m : {&l.query, &l.key, &l.value, &l.out}) units.push_back({m});
    pair(l, pool);
    if (pairs(l)) units.push_back({&l.gate, &l.up});
    else if (!paired(*l.gate)) units.insert(units.end(), {{&l.gate}, {&l.up}});
    units.push_back({&l.down});
  }
  units.insert(units.end(), {{&w.embedding}, {&w.head}});
  std::copy_if(units.begin(), units.end(), std::back_inserter(small), [](const Unit& unit) { return bytes_of(unit) < Buffer::LARGE; });

  using Seen = std::vector<const Packed*>;
  const auto seen_of = [](const Unit& unit) {
    Seen seen;
    for (const Matrix* m : unit) seen.push_back(m->get());
    return seen;
  };
  size_t total = 0;
  std::map<Seen, size_t> places;
  for (const Unit& unit : small)
    if (places.emplace(seen_of(unit), total).second) total += (bytes_of(unit) + 63) / 64 * 64;
  const auto whole = std::make_shared<const Buffer>(Buffer::unset(total));
  std::map<Seen, std::vector<Matrix>> copies;  // a matrix that the model uses twice stays one
  for (const Unit& unit : small) {
    const Seen seen = seen_of(unit);
    std::vector<Matrix>& copy = copies[seen];
    if (copy.empty()) {
      lay(unit, whole, places[seen], pool);
      for (const Matrix* m : unit) copy.push_back(*m);
    }
    for (size_t i = 0; i < unit.size(); ++i) *unit[i] = copy[i];
  }
}

void together(std::vector<Matrix>& matrices, Pool& pool) {
  size_t total = 0;
  for (const Matrix& m : matrices) total += (m->nbytes() + 63) / 64 * 64;
  const auto whole = std::make_shared<const Buffer>(Buffer::unset(total));
  size_t place = 0;
  for (Matrix& m : matrices) {
    lay({&m}, whole, place, pool);
    place += (m->nbytes() + 63) / 64 * 64;
  }
}

}  // namespace foredraft
