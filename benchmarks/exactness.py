"""The study behind docs/exactness.md: what verifiers gain over `match`, and what looks exact but is not.

    exactness.py gains [-m MODEL] [--drafters a,b] [--suite FILE] [--prompts N] [--max-tokens N] [--threads N]
                  --out FILE.jsonl
    exactness.py wrong [--out FILE.json]
    exactness.py page [--check]

`gains` decodes every prompt with every drafter and every verifier that suits it, at several temperatures, and notes
tokens and passes: a line a text, and the same command goes on where it was, to more prompts if it is told to. How much
is drafted is the same for all: the same number of tokens every round. Times are not looked at, so it may run beside
other work. `wrong` measures the bugs of `foredraft.audit.mutants`. `page` makes the tables of the page from what lies
in benchmarks/results/exactness.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tables import filled

import foredraft
from foredraft import LLM, SamplingParams
from foredraft.audit.identical import fitting, spread
from foredraft.audit.mutants import MUTANTS, try_mutant
from foredraft.bench.entrants import listed
from foredraft.bench.machine import weights_hash
from foredraft.bench.suites import load_suite
from foredraft.core.protocols import Cache
from foredraft.engine.backends import load_model
from foredraft.engine.compare import scored, timed

RESULTS = Path(__file__).parent / "results" / "exactness"
PAGE = Path(__file__).parent.parent / "docs" / "exactness.md"
TEMPERATURES = (0.3, 0.7, 1.0, 1.3)
VERIFIERS = ("match", "recursive", "block", "traversal", "specinfer", "kseq")
# Verifiers that give the verdicts of another, which tests/verify hold them to, so they are not run again.
ON_CHAINS = {"traversal": "block", "specinfer": "recursive", "kseq": "recursive"}
ON_TREES = {"block": "traversal"}
BRANCHING = ("tree=", "branches=", "dynamic=")
DRAWS = 2000  # of the bootstrap

# Where a rule was met that looks exact and is not: what others report of engines, or what reading their code shows.
ORIGINS = {
    "argmax test, then sample": "a public reference of speculation ahead of verification, on cache misses (2603.03251)",
    "ratio at the sampled token": "OpenVINO GenAI's sampler, by reading alone",
    "a uniform of zero": "a public sampling kernel: 32-bit uniforms and `p / q >= u`",
    "raw q told, truncated q drawn": "draft laws kept before top-k, tokens drawn after it",
    "siblings sorted after the draw": "trees sorted by score before they are judged",
    "unlikely drafts dropped after the draw": "a `p_min` that cuts what was drawn; harmless for drafts without chance",
    "dropped after the draw, in a block": "the same, with block verification",
    "sorted after the draw, traversed": "the same trees, with traversal verification",
    "equal siblings dropped after the draw": "duplicates removed from siblings that were drawn independently",
    "typical called lossless": "Medusa's acceptance (2401.10774), sometimes taken for lossless",
    "relaxed called lossless": "relaxed acceptance for thinking models",
    "top-p at the bonus only": "warps applied to the last row only",
    "draft's uniform reused to accept": "one generator consumed by drafting and testing alike",
    "one uniform for all positions": "the same, for a whole block",
    "noise keyed by the round": "seeds kept per step: the law is right, the text depends on the drafter",
    "penalties of rejected drafts kept": "logits processors with a state that is not rolled back",
    "padding left in the draft's law": "vocabularies padded to different sizes",
}


# --- gains ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """One generation, by its counts alone."""

    prompt: str
    temperature: float
    drafter: str
    verifier: str
    tokens: int
    passes: int
    drafted: int
    accepted: int

    @property
    def key(self) -> tuple[str, float, str, str]:
        return self.prompt, self.temperature, self.drafter, self.verifier


def read(path: Path) -> tuple[dict[str, Any], list[Text]]:
    """What a run was made with (the first line), and its texts; what an interruption left of a line is cut off."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    lines = whole.decode().splitlines()
    return json.loads(lines[0]), [Text(**json.loads(line)) for line in lines[1:]]


def gains(options: argparse.Namespace) -> None:
    path, drafters = Path(options.out), listed(options.drafters)
    loaded = load_model(options.model, threads=options.threads)
    plain = LLM(loaded, "none")
    prompts = fitting(plain, load_suite(options.suite), options.max_tokens)
    chosen = spread(prompts, options.prompts)
    setup = {
        "model": loaded.source.name,
        "model_sha256": weights_hash(loaded.source),
        "engine": loaded.engine,
        "suite": Path(options.suite).name,
        "max_tokens": options.max_tokens,
        "version": foredraft.__version__,
    }
    done = set()
    if path.exists():
        there, texts = read(path)
        if there != setup:
            sys.exit(f"{path} holds another run: give --out a new file")
        done = {text.key for text in texts}
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setup) + "\n", encoding="utf-8")
    with ExitStack() as stack, path.open("a", encoding="utf-8") as file:
        llms = {drafter: LLM(loaded, drafter) for drafter in drafters}
        for llm in llms.values():
            stack.callback(llm.drafting.close)
        for prompt in chosen:
            wanted = [
                (temperature, drafter, verifier)
                for temperature, drafter in product(TEMPERATURES, drafters)
                for verifier in suited(drafter)
                if (prompt.id, temperature, drafter, verifier) not in done
            ]
            if not wanted:
                continue
            ids = plain.encode_chat([{"role": "user", "content": prompt.turns[0]}])
            cache, _ = scored(plain, ids, SamplingParams())
            with closing(cache):
                for temperature, drafter, verifier in wanted:
                    made = decoded(llms[drafter], ids, cache, prompt.id, temperature, drafter, verifier, options)
                    file.write(json.dumps(vars(made)) + "\n")
                    file.flush()


def suited(drafter: str) -> tuple[str, ...]:
    """The verifiers that differ on what a drafter, as written, drafts."""
    return tuple(name for name in VERIFIERS if name not in alike(drafter))


def alike(drafter: str) -> dict[str, str]:
    """verifier -> the one that gives the same verdicts on what a drafter drafts."""
    return ON_TREES if any(option in drafter for option in BRANCHING) else ON_CHAINS


def decoded(
    llm: LLM,
    ids: tuple[int, ...],
    cache: Cache,
    prompt: str,
    temperature: float,
    drafter: str,
    verifier: str,
    options: argparse.Namespace,
) -> Text:
    """cache: holds the prompt, which is scored once for all, unless the drafter wants the prompt's hidden states."""
    seed = zlib.crc32(prompt.encode())
    params = SamplingParams(max_tokens=options.max_tokens, temperature=temperature, seed=seed, verifier=verifier)
    own = llm.for_tenant(f"{prompt} {temperature} {verifier}")
    stats = timed(own, ids, params, cache=None if own.drafting.needs_taps else cache.fork()).completion.stats
    assert not stats.faults, stats.faults
    return Text(prompt, temperature, drafter, verifier, stats.tokens, stats.passes, stats.drafted, stats.accepted)


def gains_table(path: Path) -> str:
    """Mean acceptance length of `match`, and how many tokens a pass the others are from it."""
    setup, texts = read(path)
    others = [verifier for verifier in VERIFIERS if verifier != "match"]
    lines = [_line(["drafter", "T", "match", *others]), _line(["---"] * (3 + len(others)))]
    for drafter in dict.fromkeys(text.drafter for text in texts):
        for temperatures in (*((one,) for one in TEMPERATURES), TEMPERATURES):
            own = [text for text in texts if text.drafter == drafter and text.temperature in temperatures]
            counts = _counts(own, suited(drafter), len(temperatures))
            if not len(counts["match"]):
                continue
            name = f"{temperatures[0]:g}" if len(temperatures) == 1 else "all"
            cells = [drafter, name, f"{_length(counts['match']):.2f}"]
            for other in others:
                same = f"as {alike(drafter).get(other)}"
                cells += [_gain(counts["match"], counts[other]) if other in counts else same]
            lines.append(_line(cells))
    prompts = len({text.prompt for text in texts})
    caption = (
        f"{setup['model']}, {setup['engine']}; {prompts} prompts of {setup['suite']}, at most {setup['max_tokens']} "
        "tokens each. Tokens a pass with `match`; of the others the difference, with a 95% interval from drawing the "
        "prompts again. `as …`: there it gives the verdicts of that one."
    )
    return "\n".join([*lines, "", caption]) + "\n"


def _counts(texts: Sequence[Text], verifiers: Sequence[str], each: int) -> dict[str, NDArray[np.float64]]:
    """verifier -> [prompts, 2]: tokens and passes of the prompts that every verifier has answered `each` times."""
    found: dict[str, dict[str, list[Text]]] = {name: {} for name in verifiers}
    for text in texts:
        if text.verifier in found:  # others are one with one of these for such drafts
            found[text.verifier].setdefault(text.prompt, []).append(text)
    whole = [prompt for prompt in found["match"] if all(len(own.get(prompt, ())) == each for own in found.values())]
    return {
        name: np.array([[sum(t.tokens for t in own[p]), sum(t.passes for t in own[p])] for p in whole], dtype=float)
        for name, own in found.items()
    }


def _length(counts: NDArray[np.float64]) -> float:
    return float(counts[:, 0].sum() / counts[:, 1].sum())


def _gain(base: NDArray[np.float64], own: NDArray[np.float64]) -> str:
    drawn = np.random.default_rng(0).integers(0, len(base), size=(DRAWS, len(base)))
    first, second = base[drawn].sum(axis=1), own[drawn].sum(axis=1)
    gained = np.quantile(second[:, 0] / second[:, 1] - first[:, 0] / first[:, 1], [0.025, 0.975])
    return f"{_length(own) - _length(base):+.2f} ({gained[0]:+.2f} – {gained[1]:+.2f})"


# --- what is wrong --------------------------------------------------------------------------------------------------


def wrong(options: argparse.Namespace) -> None:
    found = [vars(try_mutant(mutant)) | {"bug": _bug(mutant.wrong)} for mutant in MUTANTS]
    path = Path(options.out or RESULTS / "wrong.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{sum(one['caught'] for one in found)} of {len(found)} caught")


def _bug(part: Any) -> str:
    """What the mutant's class or function says of itself."""
    documented = part if isinstance(part, type | FunctionType) else type(part)
    return " ".join((documented.__doc__ or "").split())


def wrong_table(path: Path) -> str:
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [_line(["bug", "what it does", "off by", "met as"]), _line(["---"] * 4)]
    for one in sorted(found, key=lambda one: (one["name"] not in ORIGINS, -one["distance"])):
        cells = [one["name"], one["bug"].replace("|", "\\|"), f"{one['distance']:.3f}", ORIGINS.get(one["name"], "")]
        lines.append(_line(cells))
    caught = sum(one["caught"] for one in found)
    return "\n".join([*lines, "", f"{caught} of {len(found)} caught."]) + "\n"


# --- agreement: benchmarks/agreement.py -------------------------------------------------------------------------------


def agreement_table(path: Path) -> str:
    """How often one draft stands, and what a chain of four would give at that rate."""
    found = json.loads(path.read_text(encoding="utf-8"))
    head = ["T", "coupled, as for match", "by its law", "gain", "tokens a pass of 4 drafts: match", "by its law"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in found["rows"]:
        texts = np.array(row["texts"])
        drawn = np.random.default_rng(0).integers(0, len(texts), (2000, len(texts)))
        low, high = np.percentile((texts[:, 0] - texts[:, 1])[drawn].mean(axis=1), [2.5, 97.5])
        ratio, coupled = texts.mean(axis=0)
        gain = f"{ratio - coupled:+.3f} ({low:+.3f} – {high:+.3f})"
        lengths = [f"{sum(rate**depth for depth in range(5)):.2f}" for rate in (coupled, ratio)]
        lines.append(_line([f"{row['temperature']:g}", f"{coupled:.3f}", f"{ratio:.3f}", gain, *lengths]))
    caption = (
        f"{found['model']}, drafted for by {found['draft']}; {len(found['rows'][0]['texts'])} prompts of "
        f"{found['suite']}, {found['max_tokens']} tokens each. Means over texts, with a 95% interval from drawing them "
        "again. The last columns take the rate for the same at every depth."
    )
    return "\n".join([*lines, "", caption]) + "\n"


# --- the page -------------------------------------------------------------------------------------------------------


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tables() -> Iterator[tuple[str, str]]:
    """(name, text) of every table there are results for."""
    yield "wrong", wrong_table(RESULTS / "wrong.json")
    for path in sorted(RESULTS.glob("gains-*.jsonl")):
        yield path.stem, gains_table(path)
    for path in sorted(RESULTS.glob("agreement-*.json")):
        yield path.stem, agreement_table(path)


def page(options: argparse.Namespace) -> None:
    made, text = dict(tables()), PAGE.read_text(encoding="utf-8")
    new = filled(text, made)
    if not options.check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != text:
        sys.exit(f"{PAGE.name} is out of date: run make tables")
    print(f"{len(made)} tables in {PAGE.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("gains")
    running.add_argument("-m", "--model", default="smollm2")
    running.add_argument("--drafters", default="early_exit:k=4,early_exit:tree=3x2x1,k=9")
    running.add_argument("--suite", default="builtin")
    running.add_argument("--prompts", type=int, default=12)
    running.add_argument("--max-tokens", type=int, default=64)
    running.add_argument("--threads", type=int)
    running.add_argument("--out", required=True)
    running.set_defaults(run=gains)
    measuring = commands.add_parser("wrong")
    measuring.add_argument("--out")
    measuring.set_defaults(run=wrong)
    making = commands.add_parser("page")
    making.add_argument("--check", action="store_true")
    making.set_defaults(run=page)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
