"""`foredraft generate`: text from a prompt, streamed or as JSON, with `--compare` beside plain decoding."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import dataclass
from typing import Any

from foredraft.cli.asked import check, ids_of, opened
from foredraft.cli.show import LOSSY, explanation, judged, stats_json, status_line
from foredraft.cli.structured import read_text
from foredraft.core.errors import RuleError, UsageError
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.engine.compare import Comparison, compare
from foredraft.engine.llm import LLM
from foredraft.engine.loop import generate
from foredraft.engine.options import Speculation
from foredraft.engine.outputs import Completion

INTERRUPTED = 130


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
    json: bool
    compare: bool
    explain: bool

    def run(self, prompt: str | None, file: str | None) -> int:
        """Generates and prints; returns the exit status."""
        text = prompt_of(prompt, file)
        check(self)
        with opened(self) as llm:
            ids = ids_of(llm, text, self.raw)
            return self._compare(llm, ids) if self.compare else self._generate(llm, ids)

    def _generate(self, llm: LLM, ids: tuple[int, ...]) -> int:
        sequence = llm.open(ids, self.params)
        interrupted = False
        try:
            for _, step in generate(llm.loaded.model, llm.policy, [sequence]):
                self._show(step)
        except KeyboardInterrupt:
            interrupted = True
        completion = Completion.of(sequence)
        sequence.close()
        if interrupted and not self.json:
            print(sequence.stop.held, end="")
        self._finish(llm, completion, None)
        if completion.finish_reason == "error":
            raise RuleError(str(completion.stop_reason))
        return INTERRUPTED if interrupted else 0

    def _compare(self, llm: LLM, ids: tuple[int, ...]) -> int:
        found = compare(llm, ids, self.params, self._show)
        self._finish(llm, found.speculative.completion, found)
        return 0 if found.identical else 1

    def _show(self, step: Step) -> None:
        if not self.json:
            print(step.text, end="", flush=True)

    def _finish(self, llm: LLM, completion: Completion, found: Comparison | None) -> None:
        if not self.json:
            print(flush=True)
        if self.explain:
            print("\n".join([explanation(completion), *judged(llm, completion)]), file=sys.stderr)
        if self.json:
            print(jsonlib.dumps(_as_json(completion, self.speculation.drafter, found), ensure_ascii=False))
            return
        if found is None:
            print(status_line(completion, self.speculation.drafter), file=sys.stderr)
            return
        stats = completion.stats
        print(f"\nplain: {found.plain.tok_s:.1f} tok/s")
        print(f"{self.speculation.drafter}: {found.speculative.tok_s:.1f} tok/s ({found.speedup:.2f}x)")
        print(f"mean acceptance length: {stats.mean_acceptance_length:.2f}")
        if not stats.lossless:
            print(LOSSY)
        at = found.first_difference()
        print("identical: yes" if at is None else f"identical: no (first difference at token {at})")


def prompt_of(prompt: str | None, file: str | None) -> str:
    """The prompt's text from the argument, a file or stdin; exactly one of them."""
    if (prompt is None) == (file is None):
        raise UsageError("give the prompt either as an argument or with -f FILE (- for stdin)")
    if prompt is not None:
        return prompt
    assert file is not None
    return sys.stdin.read() if file == "-" else read_text(file)


def _as_json(completion: Completion, drafter: str, found: Comparison | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "text": completion.text,
        "token_ids": list(completion.token_ids),
        "finish_reason": completion.finish_reason,
        "seed": completion.seed,
        "stats": stats_json(completion, drafter),
    }
    if found is not None:
        result["compare"] = {
            "plain_tok_s": found.plain.tok_s,
            "tok_s": found.speculative.tok_s,
            "speedup": found.speedup,
            "identical": found.identical,
            "first_difference": found.first_difference(),
        }
    return result
