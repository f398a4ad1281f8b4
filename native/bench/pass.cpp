// What a pass of several rows costs below Python, on weights made up in the shape of a model: no file is needed, so it
// runs where there is none, as on a borrowed machine with another instruction set.
//
//   pass [--shape smollm2|qwen2.5-coder-1.5b] [--isa auto] [--threads 2] [--rows 1,2,4,8,16] [--context 256]
//        [--passes 30] [--parts] [--kernels [--outputs 256] [--inputs 1536]]
//
// Rows are chains and random trees in turn, every row's best token is found, and the reading of as many bytes as a
// plain step needs is timed between. More than 16 rows are a piece of a prompt: a chain, of which the last row's token
// is found. Prints one JSON object. --parts: in turn with the passes also their products alone, matrix by matrix and with
// a barrier after each, and as many empty barriers; what is left of a pass is "else". --kernels: the products of one
// matrix alone instead, in GMAC/s by type and rows: with few outputs from the caches, with many from memory, as a pass
// reads them.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "engine.hpp"
#include "formats.hpp"
#include "products.hpp"
#include "stream.hpp"
#include "tiles.hpp"

namespace {

using namespace foredraft;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string shape = "smollm2", isa = "auto", rows = "1,2,4,8,16";
  int threads = 2, context = 256, passes = 30, outputs = 256, inputs = 1536;
  bool kernels = false, parts = false;
};

struct Shape {
  Config config;
  size_t layers;
  bool more_bits_of_every_other;  // Q4_K_M: value and down of half of the layers are Q6_K
  Kind usual, more, head;
};

Shape shape_named(const std::string& name) {
  Shape s{};
  Config& c = s.config;
  c.context = 1 << 13;
  if (name == "smollm2") {
    c.width = 576, c.heads = 9, c.kv_heads = 3, c.head_size = 64, c.hidden = 1536, c.vocabulary = 49152;
    s.layers = 30, s.usual = s.more = Kind::Q4_1, s.head = Kind::Q8_0;
  } else if (name == "qwen2.5-coder-1.5b") {
    c.width = 1536, c.heads = 12, c.kv_heads = 2, c.head_size = 128, c.hidden = 8960, c.vocabulary = 151936;
    s.layers = 28, s.usual = Kind::Q4_K, s.more = Kind::Q6_K, s.head = Kind::Q6_K, s.more_bits_of_every_other = true;
  } else {
    std::fprintf(stderr, "pass: there is no shape %s: choose smollm2 or qwen2.5-coder-1.5b\n", name.c_str());
    std::exit(2);
  }
  c.rotated = c.head_size;
  c.halves = true;
  c.score_scale = 0.1f;
  return s;
}

class Maker {
 public:
  explicit Maker(Pool& pool) : pool_(pool) {}

  // Some outputs made up, and repeated until there are enough.
  Matrix matrix(Kind kind, int outputs, int inputs) {
    const size_t some = 32, row = check::stored_bytes(kind, size_t(inputs));
    const std::vector<uint8_t> part = check::random_stored(kind, some, size_t(inputs), random_);
    std::vector<uint8_t> stored(row * size_t(outputs));
    for (size_t at = 0; at < stored.size(); at += part.size())
      std::copy_n(part.begin(), std::min(part.size(), stored.size() - at), stored.begin() + long(at));
    bytes += stored.size();
    return pack(kind, size_t(outputs), size_t(inputs), stored.data(), stored.size(), pool_);
  }

  std::shared_ptr<const Weights> weights(const Shape& shape) {
    auto made = std::make_shared<Weights>();
    const Config& c = made->config = shape.config;
    const int queries = c.heads * c.head_size, keys = c.kv_heads * c.head_size;
    for (size_t index = 0; index < shape.layers; ++index) {
      const Kind finer = shape.more_bits_of_every_other && index % 2 ? shape.more : shape.usual;
      Layer l;
      l.query = matrix(shape.usual, queries, c.width);
      l.key = matrix(shape.usual, keys, c.width);
      l.value = matrix(finer, keys, c.width);
      l.out = matrix(shape.usual, c.width, queries);
      l.gate = matrix(shape.usual, c.hidden, c.width);
      l.up = matrix(shape.usual, c.hidden, c.width);
      l.down = matrix(finer, c.width, c.hidden);
      l.attention_norm.assign(size_t(c.width), 1.0f);
      l.hidden_norm.assign(size_t(c.width), 1.0f);
      for (int pair = 0; pair < c.rotated / 2; ++pair) l.frequencies.push_back(1.0f / float(1 + pair));
      made->layers.push_back(l);
    }
    made->final_norm.assign(size_t(c.width), 1.0f);
    made->embedding = made->head = matrix(shape.head, c.vocabulary, c.width);
    foredraft::check(*made);
    gather(*made, pool_);
    return made;
  }

  size_t bytes = 0;  // as a file would store them

 private:
  Pool& pool_;
  check::Random random_{11};
};

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of.empty() ? 0 : of[of.size() / 2];
}

double timed(const auto& body) {
  const auto begun = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

std::vector<int> numbers(const std::string& text) {
  std::vector<int> found;
  for (size_t at = 0; at < text.size(); at = text.find(',', at) == std::string::npos ? text.size() : text.find(',', at) + 1)
    found.push_back(std::atoi(text.c_str() + at));
  return found;
}

Ask ask_of(Cache& cache, int rows, bool tree, int vocabulary, check::Random& random) {
  Ask ask{&cache, {}, {}, {}, false};
  for (int row = 0; row < rows; ++row) {
    ask.tokens.push_back(random.below(vocabulary));
    ask.parents.push_back(!tree ? row - 1 : row ? random.below(row) : -1);
    if (rows <= TILE || row + 1 == rows) ask.wanted.push_back(row);
  }
  return ask;
}

// The products of a pass of so many rows and nothing else of it.
class ProductsOnly {
 public:
  ProductsOnly(const Weights& weights, const Kernels& kernels, size_t rows, Pool& pool)
      : weights_(weights), kernels_(kernels), pool_(pool), products_{kernels, Activations::int8} {
    const Config& c = weights.config;
    lay(width_, rows, c.width);
    lay(wanted_, rows <= TILE ? rows : 1, c.width);
    lay(mixed_, rows, c.heads * c.head_size);
    lay(hidden_, rows, c.hidden);
  }

  // Seconds of each part, in the order of PARTS.
  static constexpr const char* PARTS[] = {"query_key_value", "out", "gate_up", "down", "head", "barriers"};
  std::vector<double> run() {
    return {
        over([&](Worker& w, const Layer& l) { products_.multiply(w, {l.query.get(), l.key.get(), l.value.get()}, width_, nothing); }),
        over([&](Worker& w, const Layer& l) { products_.multiply(w, {l.out.get()}, mixed_, nothing); }),
        over([&](Worker& w, const Layer& l) { gate_up(w, l); }),
        over([&](Worker& w, const Layer& l) { products_.multiply(w, {l.down.get()}, hidden_, nothing); }),
        walked([&](Worker& w) { products_.multiply(w, {weights_.head.get()}, wanted_, nothing); }),
        over([&](Worker& w, const Layer&) { for (int turn = 0; turn < 8; ++turn) w.barrier(); })};
  }

 private:
  static void nothing(size_t, size_t, size_t, float*) {}

  void lay(Tiles& tiles, size_t rows, int inputs) {
    tiles.set_once(past_caches(weights_.nbytes()));
    tiles.lay(rows, inputs, ~FLOATS, false, 1);
    const std::vector<float> row(size_t(inputs), 0.5f);
    for (size_t at = 0; at < rows; ++at)
      kernels_.quantise(row.data(), inputs, tiles.of(at).tile, int(at - tiles.of(at).first), 0);
  }

  void gate_up(Worker& worker, const Layer& l) {
    worker.each(l.gate->panels(), 2, [&](size_t panel) {
      alignas(64) float out[TILE * PANEL];
      for (const Placed& at : width_.placed())
        for (const Packed* matrix : {l.gate.get(), l.up.get()})
          kernels_.product[int(matrix->kind)](matrix->panel(panel), int64_t(matrix->inputs), at.tile, out);
    });
  }

  double walked(const auto& body) {
    return timed([&] {
      pool_.run([&](Worker& worker) {
        kernels_.begin();
        body(worker);
        kernels_.end();
      });
    });
  }
  double over(const auto& body) {
    return walked([&](Worker& worker) {
      for (const Layer& l : weights_.layers) body(worker, l);
    });
  }

  const Weights& weights_;
  const Kernels& kernels_;
  Pool& pool_;
  Products products_;
  Tiles width_, wanted_, mixed_, hidden_;
};

// By rows, the medians of what each part took, and what they leave of a pass.
void print_parts(const std::map<int, std::vector<std::vector<double>>>& parts, const std::map<int, double>& passes) {
  std::printf(", \"parts_ms\": {");
  for (auto at = passes.begin(); at != passes.end(); ++at) {
    std::printf("%s\"%d\": {", at == passes.begin() ? "" : ", ", at->first);
    double left = at->second;
    for (size_t part = 0; part < std::size(ProductsOnly::PARTS); ++part) {
      std::vector<double> took;
      for (const std::vector<double>& one : parts.at(at->first)) took.push_back(one[part]);
      std::printf("\"%s\": %.2f, ", ProductsOnly::PARTS[part], median(took) * 1e3);
      left -= median(took);
    }
    std::printf("\"else\": %.2f}", left * 1e3);
  }
  std::printf("}");
}

int passes(const Options& options, Isa isa) {
  auto pool = std::make_shared<Pool>(options.threads);
  Maker maker(*pool);
  const Shape shape = shape_named(options.shape);
  const auto weights = maker.weights(shape);
  std::vector<int> layers;
  for (int layer = 0; layer < int(shape.layers); ++layer) layers.push_back(layer);
  Engine engine(weights, layers, pool, isa, Activations::int8, true);
  Cache cache(engine.shape());
  check::Random random(7);
  const int vocabulary = shape.config.vocabulary;
  double prompt = 0;
  for (int at = 0; at < options.context; at += 512) {
    Ask ask = ask_of(cache, std::min(512, options.context - at), false, vocabulary, random);
    ask.wanted.clear();
    prompt += timed([&] { engine.score({ask}, {}); });
    std::vector<int> rows(ask.tokens.size());
    for (size_t row = 0; row < rows.size(); ++row) rows[row] = int(row);
    cache.keep(rows);
  }
  const std::vector<int> counts = numbers(options.rows);
  std::map<int, std::vector<double>> seconds;
  std::vector<double> bandwidth;
  std::map<int, ProductsOnly> products;
  std::map<int, std::vector<std::vector<double>>> parts;
  for (int rows : counts)
    if (options.parts) products.try_emplace(rows, *weights, kernels_of(isa), size_t(rows), *pool);
  for (int turn = -2; turn < options.passes; ++turn) {
    for (int rows : counts) {
      for (bool tree : {false, true}) {
        const Ask ask = ask_of(cache, rows, tree && rows <= TILE, vocabulary, random);
        const double took = timed([&] { engine.score({ask}, {}); });
        if (turn >= 0) seconds[rows].push_back(took);
      }
      if (turn >= 0 && options.parts) parts[rows].push_back(products.at(rows).run());
    }
    if (turn % 6 == 0)
      for (double gb : read_bandwidth(size_t(1) << 29, options.threads, 3, std::min(isa, Isa::avx512))) bandwidth.push_back(gb);
  }
  const double gb_s = median(bandwidth), floor = double(maker.bytes) / gb_s / 1e9, one = median(seconds[1]);
  std::printf("{\"shape\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"context\": %d, \"passes\": %d, \"mb\": %.1f, \"packed_mb\": %.1f, "
              "\"gb_s\": %.1f, \"read_ms\": %.2f, \"prompt_tok_s\": %.0f, \"ms\": {",
              options.shape.c_str(), name_of(isa), options.threads, options.context, options.passes, double(maker.bytes) / 1e6,
              double(weights->nbytes()) / 1e6, gb_s, floor * 1e3, options.context / prompt);
  for (size_t i = 0; i < counts.size(); ++i) std::printf("%s\"%d\": %.2f", i ? ", " : "", counts[i], median(seconds[counts[i]]) * 1e3);
  std::printf("}, \"flatness\": {");
  for (size_t i = 0; i < counts.size(); ++i)
    std::printf("%s\"%d\": %.2f", i ? ", " : "", counts[i], median(seconds[counts[i]]) / std::max(one, floor));
  if (one > 0) std::printf("}, \"of_memory_speed\": %.2f", floor / one);
  else std::printf("}, \"of_memory_speed\": null");
  if (options.parts) {
    std::map<int, double> whole;
    for (int rows : counts) whole[rows] = median(seconds[rows]);
    print_parts(parts, whole);
  }
  std::printf("}\n");
  return 0;
}

// The products of a matrix, again and again. Threads share out its panels.
double rate(const Kernels& kernels, const Packed& packed, size_t rows, Pool& pool) {
  Tiles tiles;
  tiles.set_once(past_caches(packed.nbytes()));
  tiles.lay(rows, int64_t(packed.inputs), bit_of(packed.kind), false, 1);
  const std::vector<float> row(packed.inputs, 0.5f);
  for (size_t at = 0; at < rows; ++at)
    kernels.quantise(row.data(), int64_t(packed.inputs), tiles.of(at).tile, int(at - tiles.of(at).first), 0);
  const double work = double(packed.panels() * PANEL) * double(packed.inputs) * double(rows);
  const int turns = int(4e9 / work) + 1;
  std::vector<double> found;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double took = timed([&] {
      pool.run([&](Worker& worker) {
        alignas(64) float out[TILE * PANEL];
        kernels.begin();
        const size_t begin = packed.panels() * size_t(worker.index) / size_t(worker.count);
        const size_t end = packed.panels() * size_t(worker.index + 1) / size_t(worker.count);
        for (int turn = 0; turn < turns; ++turn)
          for (size_t panel = begin; panel < end; ++panel)
            for (const Placed& at : tiles.placed())
              kernels.product[int(packed.kind)](packed.panel(panel), int64_t(packed.inputs), at.tile, out);
        kernels.end();
      });
    });
    found.push_back(work * turns / took / 1e9);
  }
  return median(found);
}

int products(const Options& options, Isa isa) {
  Pool pool(options.threads);
  Maker maker(pool);
  std::printf("{\"isa\": \"%s\", \"threads\": %d, \"outputs\": %d, \"inputs\": %d, \"gmac_s\": {", name_of(isa), options.threads,
              options.outputs, options.inputs);
  for (int kind = int(Kind::Q4_0); kind < KINDS; ++kind) {
    const Matrix matrix = maker.matrix(Kind(kind), options.outputs, options.inputs);
    std::printf("%s\"%s\": {", kind == int(Kind::Q4_0) ? "" : ", ", layout_of(Kind(kind)).name);
    const std::vector<int> counts = numbers(options.rows);
    for (size_t i = 0; i < counts.size(); ++i)
      std::printf("%s\"%d\": %.0f", i ? ", " : "", counts[i], rate(kernels_of(isa), *matrix, size_t(counts[i]), pool));
    std::printf("}");
  }
  std::printf("}}\n");
  return 0;
}

Options parse(int count, char** words) {
  Options options;
  for (int at = 1; at < count; ++at) {
    const std::string word = words[at];
    if (word == "--kernels" || word == "--parts") {
      (word == "--kernels" ? options.kernels : options.parts) = true;
      continue;
    }
    const char* value = at + 1 < count ? words[++at] : "";
    if (word == "--shape") options.shape = value;
    else if (word == "--isa") options.isa = value;
    else if (word == "--rows") options.rows = value;
    else if (word == "--threads") options.threads = std::atoi(value);
    else if (word == "--context") options.context = std::atoi(value);
    else if (word == "--passes") options.passes = std::atoi(value);
    else if (word == "--outputs") options.outputs = std::atoi(value);
    else if (word == "--inputs") options.inputs = std::atoi(value);
    else {
      std::fprintf(stderr, "pass: there is no option %s: the head of this file lists them\n", word.c_str());
      std::exit(2);
    }
  }
  return options;
}

}  // namespace

int main(int count, char** words) {
  const Options options = parse(count, words);
  const foredraft::Isa isa = foredraft::isa_named(options.isa);
  return options.kernels ? products(options, isa) : passes(options, isa);
}
