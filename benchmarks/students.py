"""What small models learnt of their target, read from their laws along texts that the target says itself.

    students.py measure FOLDER --suite FILE [-m MODEL] [--prompts N] [--max-tokens N] --out FILE.json
    students.py table FILE.json [--beside NAME] [--only NAME,…]

FOLDER/*/model.gguf: by benchmarks/train_students.sh. On texts of temperature 0, whether both find the same token
likeliest, and from it the mean acceptance length of greedy chains of four, all tokens by all passes; on texts of
temperature 1, of the laws at every position
  overlap  sum min(p, q): how often a token drafted from q is accepted (Leviathan et al. 2211.17192, theorem 3.5)
  junk     of q, what lies on tokens that are accepted less than one time in ten
  missed   of p, what lies on tokens that q gives less than a tenth of
  nats     q's entropy; forward and reverse, KL(p || q) and KL(q || p)
But for lengths of chains a figure is the mean over texts of a text's mean. The intervals of the first and of overlap
are of the difference to the model NAME on the same texts, two standard errors each way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from agreement import laws, softmax, texts
from numpy.typing import NDArray

import foredraft
from foredraft.core.protocols import Model
from foredraft.models.tokenizer import same_vocabulary

Floats = NDArray[np.float64]
CHAIN = 4
RARELY = 0.1
TINY = 1e-30
FIGURES = ("overlap", "junk", "missed", "forward", "reverse", "nats")
COLUMNS = ("T = 0: same token", f"chains of {CHAIN}", "T = 1: overlap", "junk", "missed", "forward", "reverse", "nats")


def compared(p: Floats, q: Floats) -> list[float]:
    """FIGURES, of laws [positions, vocabulary], the mean over positions."""
    log_p, log_q = np.log(np.maximum(p, TINY)), np.log(np.maximum(q, TINY))
    each = (
        np.minimum(p, q),
        q * (p < RARELY * q),
        p * (q < RARELY * p),
        p * (log_p - log_q),
        q * (log_q - log_p),
        -q * log_q,
    )
    return [float(one.sum(1).mean()) for one in each]


def chain(agree: NDArray[np.bool_]) -> int:
    """Passes for these tokens, where a pass accepts until the first of CHAIN drafts that differs, and adds one."""
    place, passes = 0, 0
    while place < len(agree):
        ahead = agree[place : place + CHAIN]
        place += (len(ahead) if ahead.all() else int(np.argmin(ahead))) + 1
        passes += 1
    return passes


def along(target: Model, student: Model, said: list[tuple[tuple[int, ...], int]], temperature: float) -> Iterator[Any]:
    """For each text."""
    size = min(target.about.vocab_size, student.about.vocab_size)
    for text, begin in said:
        theirs, ours = laws(target, text, begin, size), laws(student, text, begin, size)
        if temperature == 0:
            agree = theirs.argmax(1) == ours.argmax(1)
            yield [float(agree.mean()), len(agree), chain(agree)]
        else:
            yield compared(softmax(theirs, temperature), softmax(ours, temperature))


def entropy(target: Model, said: list[tuple[tuple[int, ...], int]]) -> float:
    found = [softmax(laws(target, text, begin, target.about.vocab_size), 1.0) for text, begin in said]
    return float(np.mean([-(p * np.log(np.maximum(p, TINY))).sum(1).mean() for p in found]))


def measure(options: argparse.Namespace) -> None:
    files = sorted(options.folder.glob("*/model.gguf"))
    if not files or not options.out.parent.is_dir():
        sys.exit(f"{options.folder} has no */model.gguf" if not files else f"there is no folder {options.out.parent}")
    with foredraft.load(options.model, "none") as llm:
        target = llm.loaded.model
        said = {heat: [one for one in texts(llm, options, heat) if len(one[0]) > one[1]] for heat in (0.0, 1.0)}
        rows = []
        for path in files:
            with foredraft.load(str(path), "none") as second:
                if difference := same_vocabulary(second.tokenizer, llm.tokenizer):
                    sys.exit(f"{path} has another vocabulary than {options.model}: {difference}")
                student = second.loaded.model
                found = {f"{heat:g}": list(along(target, student, said[heat], heat)) for heat in said}
            rows.append({"student": path.parent.name, "texts": found})
            print(path.parent.name, *(np.mean(one, axis=0).round(3).tolist() for one in found.values()), flush=True)
        setup = {"model": options.model, "suite": Path(options.suite).name, "max_tokens": options.max_tokens}
        about = {**setup, "target_nats": entropy(target, said[1.0]), "figures": FIGURES, "rows": rows}
    options.out.write_text(json.dumps(about) + "\n", encoding="utf-8")


def table(raw: Any, beside: str = "", only: Sequence[str] = ()) -> str:
    """Of `measure`'s file, all in its order, or only some."""
    figures = {row["student"]: [np.array(row["texts"][heat]) for heat in ("0", "1")] for row in raw["rows"]}
    for name in (*only, *([beside] if beside else [])):
        if name not in figures:
            sys.exit(f"{name} is none of {', '.join(figures)}")
    lines = ["| | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for name in only or figures:
        greedy, sampled = figures[name]
        other = figures[beside] if beside and name != beside else None
        cells = [
            _against(greedy[:, 0], None if other is None else other[0][:, 0]),
            f"{greedy[:, 1].sum() / greedy[:, 2].sum():.3f}",
            _against(sampled[:, 0], None if other is None else other[1][:, 0]),
            *(f"{mean:.3f}" for mean in sampled[:, 1:].mean(axis=0)),
        ]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    counts = [len(next(iter(figures.values()))[heat]) for heat in (0, 1)]
    return "\n".join(
        [
            *lines,
            "",
            f"{raw['model']}, {counts[0]} texts of at most {raw['max_tokens']} tokens at temperature 0, {counts[1]} at "
            f"temperature 1, prompts of {raw['suite']}; the target's entropy {raw['target_nats']:.3f} nats.",
        ]
    )


def _against(values: Floats, other: Floats | None) -> str:
    """The mean over texts; in brackets its difference to another's on the same, give or take two standard errors."""
    if other is None:
        return f"{values.mean():.3f}"
    apart = values - other
    return f"{values.mean():.3f} ({apart.mean():+.4f} ± {2 * apart.std(ddof=1) / len(apart) ** 0.5:.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("measure", help="reads laws, and writes what they are like")
    one.add_argument("folder", type=Path)
    one.add_argument("-m", "--model", default="smollm2")
    one.add_argument("--suite", default="builtin")
    one.add_argument("--prompts", type=int, default=48)
    one.add_argument("--max-tokens", type=int, default=48)
    one.add_argument("--out", type=Path, required=True)
    other = actions.add_parser("table", help="prints what was written")
    other.add_argument("file", type=Path)
    other.add_argument("--only", default="", help="students, joined by commas; all by default")
    other.add_argument("--beside", default="", help="a student from which differences are told")
    options = parser.parse_args()
    if options.action == "measure":
        measure(options)
    else:
        only = [name for name in options.only.split(",") if name]
        print(table(json.loads(options.file.read_text(encoding="utf-8")), options.beside, only))


if __name__ == "__main__":
    main()
