"""How far the next-token laws of fast paths are from those of a reference path with float activations.

    accuracy.py [--model smollm2] [--prompts FILE.jsonl] [--reference f32] [--candidates int8 …]
                [--positions 2000] [--length 256] [--threads N] [--llama-cpp FOLDER] [--out FILE.json] [--json]

Paths: `f32`, `int16`, `int8`: the native engine with these activations (and keys and values of f32 with `f32`, of f16
otherwise); `hf`: transformers on torch in float32; `llama.cpp`: its usual flags, built by llama_cpp/build.py, and
`llama.cpp:fa=0`: those without flash attention.

The positions are the first --length tokens of chat-formatted prompts, tasks in turn, without those whose whole prefix
an earlier prompt has had. For every position the divergence KL(reference, candidate) in nats, and whether the likeliest
token is the same. Standard errors are between prompts. The last line with --json is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from llama_cpp.bench import Flags, logits_words
from llama_cpp.build import DEFAULT_FOLDER, Build, BuildError, build
from numpy.typing import NDArray
from records import ROOT, commit, machine, sha256

from foredraft.core.errors import ForedraftError, UsageError
from foredraft.core.protocols import Model, Query
from foredraft.engine.threads import available_threads
from foredraft.models.sources import Source, resolve
from foredraft.models.templates import chat_ids
from foredraft.models.tokenizer import Tokenizer

Ids = tuple[int, ...]
Logits = NDArray[np.float32]
NextLogits = Callable[[Ids], Logits]
"""Token ids -> [tokens, vocab]: after each of them, the logits of the next."""

CHUNK = 64  # rows a pass: 64 rows of 152,000 logits are 39 MB
NATIVE: dict[str, tuple[Literal["f32", "int16", "int8"], Literal["f32", "f16"]]] = {
    "f32": ("f32", "f32"),
    "int16": ("int16", "f16"),
    "int8": ("int8", "f16"),
}
LLAMA = {"llama.cpp": Flags(), "llama.cpp:fa=0": Flags(flash_attention=False)}
RESAMPLES = 2000


# --- pure -----------------------------------------------------------------------------------------------------------


def divergences(reference: Logits, candidate: Logits) -> NDArray[np.float64]:
    """[rows]: KL(reference, candidate) of the laws of two [rows, vocab] arrays of logits, in nats."""
    found = np.empty(len(reference))
    for row, (one, other) in enumerate(zip(reference, candidate, strict=True)):
        p, q = _log_softmax(one), _log_softmax(other)
        found[row] = max(0.0, float(np.exp(p) @ (p - q)))
    return found


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    exact -= exact.max()
    shifted: NDArray[np.float64] = exact - math.log(float(np.exp(exact).sum()))
    return shifted


def clustered_error(values: NDArray[np.float64], cluster: NDArray[np.int64]) -> float | None:
    """The standard error of the mean when values of one cluster depend on each other; None for a single cluster."""
    groups = len(np.unique(cluster))
    if groups < 2:
        return None
    sums = np.bincount(cluster, values - values.mean())
    return float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / len(values))


def ratio_interval(
    one: NDArray[np.float64], other: NDArray[np.float64], cluster: NDArray[np.int64]
) -> tuple[float, float]:
    """95% of mean(one) / mean(other) when whole clusters are drawn again."""
    _, index = np.unique(cluster, return_inverse=True)
    ones, others = np.bincount(index, one), np.bincount(index, other)
    draws = np.random.default_rng(0).integers(0, len(ones), (RESAMPLES, len(ones)))
    low, high = np.quantile(ones[draws].sum(1) / np.maximum(others[draws].sum(1), 1e-300), (0.025, 0.975))
    return float(low), float(high)


def in_turn(tasks: Sequence[tuple[str, Any]]) -> list[Any]:
    """The items of (task, item) pairs, one of each task after the other."""
    by_task: dict[str, list[Any]] = {}
    for task, item in tasks:
        by_task.setdefault(task, []).append(item)
    return [item for items in zip_longest(*by_task.values()) for item in items if item is not None]


def new_positions(texts: Sequence[Ids], positions: int) -> Iterator[tuple[Ids, int]]:
    """(text, first): its positions from `first` on have a prefix that no earlier text has; `positions` in all."""
    earlier: list[Ids] = []
    for text in texts:
        first = max((_common(text, other) for other in earlier), default=0)
        earlier.append(text)
        if first < len(text) and positions > 0:
            text = text[: first + positions]
            positions -= len(text) - first
            yield text, first


def _common(one: Ids, other: Ids) -> int:
    """How many tokens the two begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


# --- paths ----------------------------------------------------------------------------------------------------------


def of_model(model: Model) -> NextLogits:
    """The logits of a model, in passes of some rows."""

    def logits(ids: Ids) -> Logits:
        found = np.empty((len(ids), model.about.vocab_size), np.float32)
        cache = model.open()
        try:
            for start in range(0, len(ids), CHUNK):
                rows = range(len(ids[start : start + CHUNK]))
                query = Query(cache, ids[start : start + CHUNK], tuple(row - 1 for row in rows), logits=tuple(rows))
                [scores] = model.score([query])
                for row in rows:
                    found[start + row] = scores.logits(row)
                cache.keep(rows)
        finally:
            cache.close()
        return found

    return logits


@contextmanager
def native(source: Source, name: str, threads: int, vocab_size: int) -> Iterator[NextLogits]:
    """The native engine."""
    from foredraft.models.native import NativeModel

    activations, kv = NATIVE[name]
    model = NativeModel.load(source.path, threads=threads, activations=activations, kv=kv, vocab_size=vocab_size)
    try:
        yield of_model(model)
    finally:
        model.close()


@contextmanager
def transformers(source: Source, threads: int, vocab_size: int) -> Iterator[NextLogits]:
    """The hf engine."""
    from foredraft.models.hf import HFModel

    model = HFModel.load(source.path, source.kind, vocab_size=vocab_size, threads=threads)
    try:
        yield of_model(model)
    finally:
        model.close()


@contextmanager
def llama_cpp(built: Build, flags: Flags, source: Source, threads: int, vocab_size: int) -> Iterator[NextLogits]:
    """llama.cpp through llama-logits, which answers on its standard output; padding of the vocabulary is cut off."""
    command = [str(built.program("llama-logits")), "logits", str(source.path), *logits_words(threads, flags)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    to, back = process.stdin, process.stdout

    def logits(ids: Ids) -> Logits:
        to.write(np.array([len(ids), *ids], np.int32).tobytes())
        to.flush()
        rows, vocab = np.frombuffer(_exactly(back, 8), np.int32)
        return np.frombuffer(_exactly(back, 4 * int(rows) * int(vocab)), np.float32).reshape(rows, vocab)[
            :, :vocab_size
        ]

    try:
        yield logits
    finally:
        to.close()
        process.terminate()
        process.wait()


def _exactly(stream: IO[bytes], count: int) -> bytes:
    found = stream.read(count)
    if len(found) != count:
        raise BuildError("llama-logits ended early: its errors are above")
    return found


# --- the comparison -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distances:
    """One candidate's: KL and agreement of every position, the prompt it is of and its place there.

    After a text's very first token, hidden states of some models are a thousand times larger than anywhere else, and
    one position can outweigh a thousand: figures are given with and without it.
    """

    kl: NDArray[np.float64]
    same_top: NDArray[np.float64]
    prompt: NDArray[np.int64]
    place: NDArray[np.int64]

    @property
    def past_first(self) -> Distances:
        """Without first tokens."""
        rest = self.place > 0
        return Distances(self.kl[rest], self.same_top[rest], self.prompt[rest], self.place[rest])

    @property
    def as_json(self) -> dict[str, Any]:
        return {
            "positions": len(self.kl),
            "prompts": len(np.unique(self.prompt)),
            "kl": float(self.kl.mean()),
            "kl_error": clustered_error(self.kl, self.prompt),
            "kl_past_first": float(self.past_first.kl.mean()),
            "kl_median": float(np.median(self.kl)),
            "kl_p95": float(np.quantile(self.kl, 0.95)),
            "kl_max": float(self.kl.max()),
            "top1": float(self.same_top.mean()),
            "top1_error": clustered_error(self.same_top, self.prompt),
            "raw": {
                "kl": [float(f"{value:.3g}") for value in self.kl],
                "other_top1_at": np.flatnonzero(self.same_top == 0).tolist(),
                "prompt": self.prompt.tolist(),
            },
        }


def distances(
    reference: NextLogits, candidates: dict[str, NextLogits], texts: Sequence[tuple[Ids, int]]
) -> dict[str, Distances]:
    """Each candidate's distance from the reference at the positions of `texts`, as new_positions gives them."""
    parts: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {name: [] for name in candidates}
    for number, (ids, first) in enumerate(texts, 1):
        expected = reference(ids)[first:].copy()
        for name, candidate in candidates.items():
            found = candidate(ids)[first:]
            if found.shape != expected.shape:
                raise UsageError(f"{name} has {found.shape[1]} logits, the reference {expected.shape[1]}: other files?")
            same = (expected.argmax(1) == found.argmax(1)).astype(np.float64)
            parts[name].append((divergences(expected, found), same))
        _say(f"{number}/{len(texts)}")
    prompt = np.repeat(np.arange(len(texts)), [len(ids) - first for ids, first in texts])
    place = np.concatenate([np.arange(first, len(ids)) for ids, first in texts])
    return {
        name: Distances(np.concatenate([kl for kl, _ in own]), np.concatenate([same for _, same in own]), prompt, place)
        for name, own in parts.items()
    }


def texts_of(tokenizer: Tokenizer, prompts: Path, length: int, positions: int) -> list[tuple[Ids, int]]:
    entries = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    chats = in_turn([(entry["task"], [{"role": "user", "content": entry["turns"][0]}]) for entry in entries])
    texts = [tuple(chat_ids(tokenizer, chat))[:length] for chat in chats]
    return list(new_positions(texts, positions))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    source = resolve(options.model)
    tokenizer = Tokenizer.from_source(source)
    threads = options.threads or available_threads()
    names = [options.reference, *options.candidates]
    built = build(options.llama_cpp, "native") if LLAMA.keys() & set(names) else None
    texts = texts_of(tokenizer, options.prompts, options.length, options.positions)
    with ExitStack() as stack:
        paths = {}
        for name in dict.fromkeys(names):
            if name in NATIVE:
                paths[name] = stack.enter_context(native(source, name, threads, tokenizer.size))
            elif name == "hf":
                paths[name] = stack.enter_context(transformers(source, threads, tokenizer.size))
            else:
                assert built is not None
                paths[name] = stack.enter_context(llama_cpp(built, LLAMA[name], source, threads, tokenizer.size))
        found = distances(paths[options.reference], {name: paths[name] for name in options.candidates}, texts)
    return {
        "model": options.model,
        "file": source.path.name,
        "sha256": sha256(source.path) if source.path.is_file() else None,
        "prompts": {"file": options.prompts.name, "sha256": sha256(options.prompts), "length": options.length},
        "reference": options.reference,
        "candidates": {name: one.as_json for name, one in found.items()},
        "kl_ratio_to_llama_cpp": _ratios(found),
        "llama_cpp": built.about if built is not None else None,
        "machine": machine(),
        "commit": commit(),
    }


def _ratios(found: dict[str, Distances]) -> dict[str, Any]:
    """KL of each other candidate over that of each of llama.cpp's, with 95% of what other prompts might give."""
    return {
        name: {
            theirs: {
                "all": _ratio(own, found[theirs]),
                "past_first": _ratio(own.past_first, found[theirs].past_first),
            }
            for theirs in found.keys() & LLAMA.keys()
        }
        for name, own in found.items()
        if name not in LLAMA
    }


def _ratio(one: Distances, other: Distances) -> dict[str, Any]:
    interval = ratio_interval(one.kl, other.kl, one.prompt)
    return {"ratio": float(one.kl.mean() / other.kl.mean()), "interval": interval}


def _print(found: dict[str, Any]) -> None:
    print(f"{found['model']}, against {found['reference']}:")
    for name, own in found["candidates"].items():
        print(
            f"{name:14} KL {own['kl']:.5f} +- {_known(own['kl_error']):.5f} (past first tokens "
            f"{own['kl_past_first']:.5f}, median {own['kl_median']:.5f}), "
            f"top-1 {own['top1']:.2%} +- {_known(own['top1_error']):.2%}, "
            f"{own['positions']} positions"
        )
    for name, ratios in found["kl_ratio_to_llama_cpp"].items():
        for theirs, scopes in sorted(ratios.items()):
            for scope, ratio in scopes.items():
                low, high = ratio["interval"]
                print(f"KL of {name} / {theirs}, {scope}: {ratio['ratio']:.3f} (95% of {low:.3f} to {high:.3f})")


def _known(error: float | None) -> float:
    return math.nan if error is None else error


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = (*NATIVE, "hf", *LLAMA)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=Path, default=ROOT / "benchmarks" / "prompts" / "copy.jsonl")
    parser.add_argument("--reference", choices=known, default="f32")
    parser.add_argument("--candidates", nargs="+", choices=known, default=["int8", *LLAMA])
    parser.add_argument("--positions", type=int, default=2000)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--llama-cpp", type=Path, default=DEFAULT_FOLDER, help="where llama.cpp is built")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    options = _options()
    try:
        found = measure(options)
    except (BuildError, ForedraftError, OSError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    if options.out:
        options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    _print(found)
    if options.json:
        print(json.dumps(found))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
