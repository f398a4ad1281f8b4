"""What a benchmark asks: a prompt, and what is said after the answer to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """A text to answer, and what is said after the answer, if anything is."""

    id: str
    task: str
    turns: tuple[str, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """The id of each turn's generation: the prompt's own, then `id#2`, …"""
        return (self.id, *(f"{self.id}#{turn}" for turn in range(2, len(self.turns) + 1)))
