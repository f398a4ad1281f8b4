"""foredraft against llama.cpp at its best flags: the same GGUF file, the same machine, taking turns in one run.

    compare_llama_cpp.py [--model smollm2] [--requantise Q4_0] [--draft-model FILE.gguf] [--prompts FILE.jsonl]
                         [--parts tune,bench,try,serve] [--drafters lookup ...] [--threads N] [--repeats 5]
                         [--out FILE.jsonl] [--json] [--quick]
    compare_llama_cpp.py --build-only
    compare_llama_cpp.py --report FILE.jsonl [--json]

Builds llama.cpp first (see llama_cpp/build.py), into --llama-cpp, outside the repository. Then four parts:
  tune    every combination of llama.cpp's flags, to find its best for each test
  bench   its best flags, foredraft and the streaming reader, in turn: a prompt, single tokens, small batches
  try     llama-server's ways of speculation on one prompt of each task, to find its best
  serve   llama-server, plain and at its best, and foredraft, plain and with drafters, in turn on all prompts
Every figure is written to --out as it is measured; started again, a run goes on where it stopped. The last line with
--json is one JSON object, the summary.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from asked import Prompt, read_prompts
from llama_cpp import bench, ours, report, serve
from llama_cpp.build import DEFAULT_FOLDER, Build, BuildError, build, compile_stream, processor_flags, variants
from quick import loops
from records import ROOT, Log, OtherRun, Record, commit, machine, read, sha256

import foredraft
from foredraft.core.errors import ForedraftError
from foredraft.engine.llm import LLM, load
from foredraft.engine.threads import available_threads
from foredraft.models.gguf_header import read_header
from foredraft.models.sources import resolve

COPY = ROOT / "benchmarks" / "prompts" / "copy.jsonl"
RESULTS = ROOT / "benchmarks" / "results"
PARTS = ("tune", "bench", "try", "serve")


class Comparison:
    """One file on both sides."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.threads: int = options.threads or available_threads()
        self.repeats: int = options.repeats
        self.builds: dict[str, Build] = builds(options)
        self.file = self._file()
        self.log = Log(self._out(), self._header())

    @cached_property
    def llm(self) -> LLM:
        """foredraft's side, loaded when first used."""
        return load(str(self.file), "none", engine=self.options.engine, threads=self.threads)

    def run(self) -> Record:
        parts = {"tune": self.tune, "bench": self.take_turns, "try": self.try_servers, "serve": self.answer_prompts}
        for part in self.options.parts:
            parts[part]()
        return report.summary(self.log.header, self.log.records, lambda tokens: loops(tuple(tokens)))

    # --- made-up tokens ---------------------------------------------------------------------------------------------

    def tune(self) -> None:
        arms = bench.grid(list(self.builds))[: 1 if self.options.quick else None]
        for repeat, arm in _turns(arms, self.options.tune_repeats):
            self._measure("tune", arm, repeat)

    def take_turns(self) -> None:
        arms = [*sorted(set(self._best().values())), report.OURS, report.STREAM]
        for repeat, arm in _turns(arms, self.repeats):
            self._measure("bench", arm, repeat)

    def _measure(self, part: str, arm: str, repeat: int) -> None:
        key = (part, arm, repeat)
        if key in self.log.done:
            return
        _say(f"{part} {repeat + 1}: {arm}")
        if arm == report.STREAM:
            words = [str(self._stream), "--threads", str(self.threads), "--repeats", "5"]
            self.log.add(key, arm=arm, gb_s=json.loads(bench.output(words))["all"])
            return
        if arm == report.OURS:
            figures = ours.measure(self.llm.loaded.model)
        else:
            name, flags = bench.arm_of(arm)
            figures = bench.measure(self.builds[name], self.file, self.threads, flags)
        self.log.add(key, arm=arm, figures=[figure.as_json for figure in figures])

    def _best(self) -> dict[str, str]:
        """test -> llama.cpp's best arm for it. Without tuning: its usual flags."""
        tuned = [record for record in self.log.records if record["key"][0] == "tune"]
        usual = bench.arm_name(next(iter(self.builds)), bench.Flags())
        return bench.best_arms(bench.speeds(tuned)) or dict.fromkeys(("tg32", "rows8@256"), usual)

    @cached_property
    def _stream(self) -> Path:
        return compile_stream(self.options.llama_cpp)

    # --- completions ------------------------------------------------------------------------------------------------

    def try_servers(self) -> None:
        """One server after the other: this only chooses which are worth measuring."""
        tasks = {prompt.task: prompt for prompt in reversed(self._prompts)}.values()
        for arm, words in self._servers().items():
            left = [prompt for prompt in tasks if ("try", arm, prompt.id) not in self.log.done]
            if not left:
                continue
            _say(f"try: {arm}")
            with self._server(arm, words) as server:
                server.complete(left[0].ids, 4)
                for prompt in left:
                    answer = server.complete(prompt.ids, self.options.max_tokens)
                    self._record(("try", arm, prompt.id), arm, prompt, 0, answer)

    def answer_prompts(self) -> None:
        chosen = self._chosen()
        drafters = {f"{report.OURS} {name}": name for name in ("none", *self.options.drafters)}
        keys = itertools.product(("serve",), (*chosen, *drafters), (p.id for p in self._prompts), range(self.repeats))
        if self.log.done.issuperset(keys):
            return
        with ExitStack() as running:
            servers = {arm: running.enter_context(self._server(arm, words)) for arm, words in chosen.items()}
            llms = {arm: LLM(self.llm.loaded, name) for arm, name in drafters.items()}
            for server in servers.values():
                server.complete(self._prompts[0].ids, 4)
            for llm in llms.values():
                ours.complete(llm, self._prompts[0].ids, 4)
            for repeat in range(self.repeats):
                for at, prompt in enumerate(self._prompts):
                    order = [*servers, *llms]
                    random.Random(1000 * repeat + at).shuffle(order)
                    for arm in order:
                        if ("serve", arm, prompt.id, repeat) not in self.log.done:
                            self._complete(arm, prompt, repeat, servers, llms)
                    _say(f"serve {repeat + 1}: {prompt.id}")

    def _complete(
        self, arm: str, prompt: Prompt, repeat: int, servers: Mapping[str, serve.Server], llms: Mapping[str, LLM]
    ) -> None:
        answer: serve.Answer | ours.Answer
        if arm in servers:
            answer = servers[arm].complete(prompt.ids, self.options.max_tokens)
        else:
            answer = ours.complete(llms[arm], prompt.ids, self.options.max_tokens)
        self._record(("serve", arm, prompt.id, repeat), arm, prompt, repeat, answer)

    def _record(
        self,
        key: tuple[str | int, ...],
        arm: str,
        prompt: Prompt,
        repeat: int,
        answer: serve.Answer | ours.Answer,
    ) -> None:
        asked = {"repeat": repeat, "prompt": prompt.id, "task": prompt.task, "prompt_tokens": len(prompt.ids)}
        counts = {"generated": answer.generated, "decoded": answer.decoded}
        self.log.add(key, arm=arm, **asked, **(asdict(answer) | counts))

    def _servers(self) -> dict[str, tuple[str, ...]]:
        """Every server worth trying: the flags that are best for single rows and for eight, every way of guessing."""
        ways = dict(serve.SPECULATION)
        if self.options.draft_model:
            ways |= serve.drafted_by(resolve(self.options.draft_model).path)
        if self.options.quick:
            ways = {name: ways[name] for name in (serve.PLAIN, "ngram-simple:3-8")}
        best = self._best()
        flags = dict.fromkeys(best[test] for test in ("tg32", "rows8@256"))
        return {f"{arm} {name}": words for arm in flags for name, words in ways.items()}

    def _chosen(self) -> dict[str, tuple[str, ...]]:
        """The best plain server, the best of those that guess without a model, and of those that guess with one."""
        every = self._servers()
        tried = report.tried([record for record in self.log.records if record["key"][0] == "try"])
        kinds: dict[str, list[str]] = {}
        for arm in every:
            way = arm.rpartition(" ")[2]
            kind = way if way == serve.PLAIN else way.partition("-")[0]
            kinds.setdefault(kind, []).append(arm)
        best = [max(arms, key=lambda arm: tried.get(arm, 0.0)) for arms in kinds.values()]
        return {arm: every[arm] for arm in best}

    def _server(self, arm: str, words: tuple[str, ...]) -> serve.Server:
        name, flags = bench.arm_of(arm.rpartition(" ")[0])
        return serve.Server(self.builds[name], self.file, self.threads, flags, words)

    @cached_property
    def _prompts(self) -> list[Prompt]:
        return read_prompts(self.options.prompts, self.llm, self.options.limit)

    # --- what is compared -------------------------------------------------------------------------------------------

    def _file(self) -> Path:
        source = resolve(self.options.model)
        if source.kind != "gguf":
            raise BuildError(f"{self.options.model} is no GGUF file: llama.cpp reads nothing else")
        if self.options.requantise is None:
            return source.path
        return requantised(next(iter(self.builds.values())), source.path, self.options)

    def _out(self) -> Path:
        return self.options.out or RESULTS / f"llama_cpp-{self.file.stem.lower()}.jsonl"

    def _header(self) -> dict[str, Any]:
        asked = ("model", "requantise", "draft_model", "engine", "drafters", "max_tokens", "limit")
        tensors = {tensor.name: tensor.nbytes for tensor in read_header(self.file).tensors}
        apart = tensors["token_embd.weight"] if "output.weight" in tensors else 0
        return {
            "comparison": "llama.cpp",
            **{name: getattr(self.options, name) for name in asked},
            "prompts": {"file": self.options.prompts.name, "sha256": sha256(self.options.prompts)},
            "file": self.file.name,
            "sha256": sha256(self.file),
            "weight_bytes": sum(tensors.values()) - apart,
            "threads": self.threads,
            "machine": machine(),
            "builds": [one.about for one in self.builds.values()],
            "version": foredraft.__version__,
            "commit": commit(),
        }


def builds(options: argparse.Namespace) -> dict[str, Build]:
    """llama.cpp, built as far as it is not."""
    return {name: build(options.llama_cpp, name, options.jobs) for name in variants(processor_flags())}


def requantised(built: Build, source: Path, options: argparse.Namespace) -> Path:
    """The file in another quantisation, made by llama-quantize unless it is there. Only its speed means anything."""
    target: Path = options.llama_cpp / "requantised" / f"{source.stem.split('.')[0]}.{options.requantise}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".part")
        program = str(built.program("llama-quantize"))
        bench.output([program, "--allow-requantize", str(source), str(partial), options.requantise, "2"])
        partial.rename(target)
    return target


def _turns(arms: list[str], repeats: int) -> Iterator[tuple[int, str]]:
    """Every arm in every repeat, in another order each time."""
    for repeat in range(repeats):
        order = list(arms)
        random.Random(repeat).shuffle(order)
        yield from ((repeat, arm) for arm in order)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a known name or a GGUF file")
    parser.add_argument("--requantise", metavar="TYPE", help="compare on the model made into Q4_0, Q8_0, … instead")
    parser.add_argument("--draft-model", help="a second model for llama-server's drafting")
    parser.add_argument("--prompts", type=Path, default=COPY)
    parser.add_argument("--limit", type=int, help="prompts at most")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--drafters", nargs="*", default=["lookup"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tune-repeats", type=int, default=2)
    parser.add_argument("--llama-cpp", type=Path, default=DEFAULT_FOLDER, help="where llama.cpp is built")
    parser.add_argument("--jobs", type=int, default=2, help="of the build")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one repeat of few arms: does it run at all?")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--report", type=Path, metavar="FILE", help="only print what follows from raw figures")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)[0]!r}: choose from {', '.join(PARTS)}")
    if options.quick:
        options.repeats = options.tune_repeats = 1
    return options


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if options.build_only:
            for one in builds(options).values():
                print(json.dumps(one.about | {"folder": str(one.folder)}))
            return 0
        if options.report:
            header, records = read(options.report)
            found = report.summary(header, records, lambda tokens: loops(tuple(tokens)))
        else:
            found = Comparison(options).run()
    except (BuildError, OtherRun, ForedraftError, OSError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text(found))
    if options.json:
        print(json.dumps(found))
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that servers are ended on the way out


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
