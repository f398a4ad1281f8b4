"""`foredraft trace`: a generation as one HTML page."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import randbits
from typing import BinaryIO

from foredraft.bench.machine import isa_of, machine
from foredraft.cli.asked import check, ids_of, opened
from foredraft.cli.generate import prompt_of
from foredraft.cli.place import put_in_place, write
from foredraft.cli.show import LOSSY
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.engine.compare import Comparison
from foredraft.engine.llm import LLM
from foredraft.engine.options import Speculation
from foredraft.trace.page import page
from foredraft.trace.run import promises_identity, trace


@dataclass(frozen=True)
class Job:
    """One call of the command, its options as given."""

    model: str
    engine: str
    threads: int | None
    speculation: Speculation
    verifier: str
    allow_lossy: bool
    params: SamplingParams
    raw: bool
    out: str

    def run(self, prompt: str | None, file: str | None) -> int:
        """Generates and writes the page; returns the exit status: 1 where tokens differ that must not."""
        text = prompt_of(prompt, file)
        check(self)
        with (
            put_in_place(Path(self.out)) as out,
            opened(self) as llm,
        ):  # wrong places are told before weights are loaded
            found, size = self._trace(llm, text, out)
            kept = not promises_identity(llm, self.params) or found.identical
        print(self._line(found, size), file=sys.stderr)
        return 0 if kept else 1

    def _trace(self, llm: LLM, text: str, out: BinaryIO) -> tuple[Comparison, int]:
        ids = ids_of(llm, text, self.raw)
        seed = self.params.seed
        params = self.params if seed is not None else replace(self.params, seed=randbits(32))
        record, found = trace(llm, ids, params, text, self._facts(llm, params), _show)
        print(flush=True)
        content = page(record).encode(errors="replace")
        write(out, content, self.out)
        return found, len(content)

    def _facts(self, llm: LLM, params: SamplingParams) -> dict[str, str]:
        """What the page says of the machine and of how the text was made."""
        limits = {"top-p": (params.top_p, 1.0), "top-k": (params.top_k, 0), "min-p": (params.min_p, 0.0)}
        cut = [f"{name} {value:g}" for name, (value, off) in limits.items() if value != off]
        return {
            "model": self.model,
            "engine": f"{llm.loaded.engine} ({isa_of(llm.loaded)}), {llm.loaded.threads} threads",
            "processor": str(machine()["processor"]),
            "drafter": self.speculation.drafter,
            "verifier": self.verifier,
            "sampling": ", ".join([f"temperature {params.temperature:g}", *cut, f"seed {params.seed}"]),
        }

    def _line(self, found: Comparison, size: int) -> str:
        stats = found.speculative.completion.stats
        at = found.first_difference()
        parts = [
            f"{self.out}: {stats.tokens} tokens in {stats.passes} rounds",
            f"{found.speedup:.2f}x plain decoding",
            "identical: yes" if at is None else f"identical: no (first difference at token {at})",
            *([] if stats.lossless else [LOSSY]),
            f"{size / 1000:.0f} kB",
        ]
        return ", ".join(parts)


def _show(step: Step) -> None:
    print(step.text, end="", flush=True)
