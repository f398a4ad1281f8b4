"""What happened: one `Step` a sequence and pass. Every statistic is derived from steps (`engine/stats.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from foredraft.core.law import Law
from foredraft.core.stop import Finish
from foredraft.core.tree import EMPTY, DraftTree


@dataclass(frozen=True)
class Times:
    """Seconds of a round, by what they went into; a round of several sequences is shared out evenly.

    draft: drafters at work or waited for. verify: the target's pass. sample: laws, the walk, the text. other: the rest.
    """

    draft: float = 0.0
    verify: float = 0.0
    sample: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        return self.draft + self.verify + self.sample + self.other


@dataclass(frozen=True)
class TokenLogprob:
    """log p of an emitted token by the model's own logits, and the likeliest tokens beside it, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Step:
    """One pass of one sequence.

    position: output position of the first emitted token. tokens: what was emitted, after stopping; empty for a chunk of
    the prompt. accepted: how many of `tokens` were drafts. path: the accepted nodes of `tree`. rows: rows scored.
    laws: the target's law at every emitted token, when the sequence keeps them. text: text that became final.
    tree: without its laws. fault: what a drafter did wrong, if it did. wall: seconds of the round, all sequences.
    spent: seconds that each source drafted. expected: tokens and seconds the policy expected of the round, if it did.
    lossless: False where the verifier may change what the model says.
    """

    position: int
    tokens: tuple[int, ...]
    accepted: int = 0
    tree: DraftTree = EMPTY
    path: tuple[int, ...] = ()
    rows: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    laws: tuple[Law, ...] = ()
    text: str = ""
    finish: Finish | None = None
    fault: str | None = None
    seconds: Times = Times()
    wall: float = 0.0
    spent: tuple[tuple[str, float], ...] = ()
    expected: tuple[float, float] | None = None
    lossless: bool = True

    @property
    def drafted(self) -> int:
        return self.tree.drafted
