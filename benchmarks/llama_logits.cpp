// What llama.cpp's own programs do not tell: the logits of every position, and the time of a pass that computes them.
//
//   llama-logits --features                    prints what the kernels were compiled with
//   llama-logits logits MODEL [options]        reads `int32 n, int32 ids[n]` again and again from standard input and
//                                              answers each with `int32 n, int32 vocab, float32 logits[n][vocab]`
//   llama-logits passes MODEL [options]        prints {"rows": {"1": [milliseconds, ...], ...}}: passes of m rows over
//                                              a context, logits of every row computed, as checking drafts needs them
//
// options: --threads 2, --flash-attn on|off|auto, --repack 1|0, --mmap 1|0, --ubatch 512, and of `passes`
// --depth 256, --rows 1,2,4,8,16, --repeats 5. Linked against libllama by benchmarks/llama_cpp/build.py.

#include <llama.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Options {
  std::map<std::string, std::string> given = {
      {"--threads", "2"}, {"--flash-attn", "auto"}, {"--repack", "1"}, {"--mmap", "1"},
      {"--ubatch", "512"}, {"--depth", "256"}, {"--rows", "1,2,4,8,16"}, {"--repeats", "5"},
  };

  const std::string& text(const std::string& name) const { return given.at(name); }
  int number(const std::string& name) const { return std::stoi(given.at(name)); }
};

Options parse(int count, char** words) {
  Options options;
  for (int at = 3; at < count; at += 2) {
    const auto found = options.given.find(words[at]);
    if (found == options.given.end() || at + 1 == count) throw std::invalid_argument(words[at]);
    found->second = words[at + 1];
  }
  return options;
}

std::vector<int> numbers(const std::string& list) {
  std::vector<int> found;
  for (size_t at = 0; at < list.size();) {
    size_t used = 0;
    found.push_back(std::stoi(list.substr(at), &used));
    at += used + 1;
  }
  return found;
}

void only_errors(ggml_log_level level, const char* text, void*) {
  if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

llama_flash_attn_type attention(const std::string& name) {
  if (name == "on") return LLAMA_FLASH_ATTN_TYPE_ENABLED;
  if (name == "off") return LLAMA_FLASH_ATTN_TYPE_DISABLED;
  if (name == "auto") return LLAMA_FLASH_ATTN_TYPE_AUTO;
  throw std::invalid_argument(name);
}

class Session {
 public:
  Session(const char* path, const Options& options, int context)
      : model_(nullptr, llama_model_free), context_(nullptr, llama_free) {
    llama_model_params loading = llama_model_default_params();
    loading.load_mode = options.number("--mmap") ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    loading.use_extra_bufts = options.number("--repack") != 0;
    model_.reset(llama_model_load_from_file(path, loading));
    if (model_ == nullptr) throw std::runtime_error("cannot load the model");
    llama_context_params running = llama_context_default_params();
    running.n_ctx = uint32_t(context);
    running.n_batch = uint32_t(context);
    running.n_ubatch = uint32_t(options.number("--ubatch"));
    running.n_threads = running.n_threads_batch = options.number("--threads");
    running.flash_attn_type = attention(options.text("--flash-attn"));
    context_.reset(llama_init_from_model(model_.get(), running));
    if (context_ == nullptr) throw std::runtime_error("cannot make a context");
  }

  int vocab() const { return llama_vocab_n_tokens(llama_model_get_vocab(model_.get())); }

  // Forgets all after the first `length` tokens.
  void trim(int length) { llama_memory_seq_rm(llama_get_memory(context_.get()), 0, length, -1); }

  // One pass over `ids` from position `start`, the logits of all rows computed.
  void score(const std::vector<int32_t>& ids, int start) {
    llama_batch batch = llama_batch_init(int32_t(ids.size()), 0, 1);
    batch.n_tokens = int32_t(ids.size());
    for (size_t row = 0; row < ids.size(); ++row) {
      batch.token[row] = ids[row];
      batch.pos[row] = start + int32_t(row);
      batch.n_seq_id[row] = 1;
      batch.seq_id[row][0] = 0;
      batch.logits[row] = 1;
    }
    const int status = llama_decode(context_.get(), batch);
    llama_synchronize(context_.get());
    llama_batch_free(batch);
    if (status != 0) throw std::runtime_error("llama_decode failed with status " + std::to_string(status));
  }

  const float* logits(int row) { return llama_get_logits_ith(context_.get(), row); }

 private:
  std::unique_ptr<llama_model, decltype(&llama_model_free)> model_;
  std::unique_ptr<llama_context, decltype(&llama_free)> context_;
};

constexpr int CONTEXT = 2048;

void answer_with_logits(const char* path, const Options& options) {
  Session session(path, options, CONTEXT);
  const int32_t vocab = session.vocab();
  for (int32_t count = 0; std::fread(&count, sizeof count, 1, stdin) == 1;) {
    if (count < 1 || count > CONTEXT) throw std::runtime_error("a request must have 1 to 2048 tokens");
    std::vector<int32_t> ids(static_cast<size_t>(count));
    if (std::fread(ids.data(), sizeof(int32_t), ids.size(), stdin) != ids.size()) throw std::runtime_error("cut short");
    for (int32_t id : ids) {
      if (id < 0 || id >= vocab) throw std::runtime_error("token id outside the vocabulary");
    }
    session.trim(0);
    session.score(ids, 0);
    std::fwrite(&count, sizeof count, 1, stdout);
    std::fwrite(&vocab, sizeof vocab, 1, stdout);
    for (int row = 0; row < count; ++row) std::fwrite(session.logits(row), sizeof(float), size_t(vocab), stdout);
    std::fflush(stdout);
  }
}

// Ids without meaning; what they are does not change the time of a dense model's pass.
std::vector<int32_t> some_ids(int count, int vocab) {
  std::vector<int32_t> ids;
  for (uint32_t state = 1; int(ids.size()) < count;) {
    state = state * 1664525u + 1013904223u;
    ids.push_back(int32_t((state >> 8) % uint32_t(vocab)));
  }
  return ids;
}

void time_passes(const char* path, const Options& options) {
  const int depth = options.number("--depth"), repeats = options.number("--repeats");
  const std::vector<int> rows = numbers(options.text("--rows"));
  Session session(path, options, CONTEXT + depth);
  session.score(some_ids(depth, session.vocab()), 0);
  std::map<int, std::vector<double>> times;
  for (int repeat = 0; repeat <= repeats; ++repeat) {  // row counts in turn; the first round warms up
    for (int count : rows) {
      const std::vector<int32_t> ids = some_ids(count, session.vocab());
      const auto begun = std::chrono::steady_clock::now();
      session.score(ids, depth);
      const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begun;
      session.trim(depth);
      if (repeat > 0) times[count].push_back(spent.count());
    }
  }
  std::printf("{\"rows\": {");
  for (auto one = times.begin(); one != times.end(); ++one) {
    std::printf("%s\"%d\": [", one == times.begin() ? "" : ", ", one->first);
    for (size_t i = 0; i < one->second.size(); ++i) std::printf("%s%.4f", i ? ", " : "", one->second[i]);
    std::printf("]");
  }
  std::puts("}}");
}

}  // namespace

int main(int count, char** words) try {
  llama_log_set(only_errors, nullptr);
  llama_backend_init();
  const std::string task = count > 1 ? words[1] : "";
  if (task == "--features") {
    std::puts(llama_print_system_info());
  } else if (count > 2 && task == "logits") {
    answer_with_logits(words[2], parse(count, words));
  } else if (count > 2 && task == "passes") {
    time_passes(words[2], parse(count, words));
  } else {
    throw std::invalid_argument("--features, logits MODEL or passes MODEL is wanted");
  }
  return 0;
} catch (const std::invalid_argument& error) {
  std::fprintf(stderr, "llama-logits: wrong use: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "llama-logits: %s\n", error.what());
  return 1;
}
