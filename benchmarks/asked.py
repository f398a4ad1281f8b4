"""The prompts of a comparison: the first turn of each, in the chat template, as the token ids every engine gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foredraft.bench.suites import limited, load_suite
from foredraft.engine.llm import LLM


@dataclass(frozen=True)
class Prompt:
    id: str
    task: str
    ids: tuple[int, ...]


def read_prompts(path: Path, llm: LLM, limit: int | None = None, per_task: int | None = None) -> list[Prompt]:
    """Of a file of JSON lines: the first `limit` of all, the first `per_task` of each task. Raises UsageError."""
    found = limited(load_suite(str(path)), per_task)[:limit]
    chats = [(one.id, one.task, [{"role": "user", "content": one.turns[0]}]) for one in found]
    return [Prompt(name, task, llm.encode_chat(chat)) for name, task, chat in chats]
