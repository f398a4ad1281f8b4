"""Suites that are made of what the package carries anyway: `copy` of its own prompts, `long` of its own source.

The same version makes the same prompts, byte for byte; another version's `long` has other code in it, which the hash of
the suite in every result tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable

from foredraft.bench.prompts import Prompt

REPEAT = "Repeat the following text word for word, and add nothing.\n\n"

# Context lengths by name. Code takes about 3.7 characters a token with the vocabularies of today's models, from 3.4 to
# 4.1; what is asked and what is answered is to fit in too.
LENGTHS = {"4k": 4096, "8k": 8192, "16k": 16384}
CHARACTERS = 3.4  # a token: on the safe side
FULL = 0.9  # of the room, that is enough
QUESTIONS = {
    "explain": "Explain in your own words what the module `{last}` does, who would use it, and which errors it raises.",
    "list": "List every function and class of the module `{last}`, one a line, each with a short description.",
    "quote": "Quote the module `{first}` from its first line on, word for word, in one code block.",
    "tests": "Write pytest tests for the module `{last}`: one test for each thing that its docstrings promise.",
}


def copying(prompts: Iterable[Prompt]) -> tuple[Prompt, ...]:
    """Texts to edit and texts to repeat, from the package's prompts: where drafters that look things up are at home."""
    own = list(prompts)
    edit = [Prompt(f"copy-{one.id}", "edit", one.turns) for one in own if one.task == "edit"]
    texts = [(one.id, _passage(one.turns[0])) for one in own if one.task == "summarise"]
    repeat = [
        Prompt(f"copy-repeat-{number}", "repeat", (REPEAT + text,)) for number, (_, text) in enumerate(texts, start=1)
    ]
    return (*edit, *repeat)


def reading() -> tuple[Prompt, ...]:
    """Questions about as much of the package's source as fits into contexts of 4,096, 8,192 and 16,384 tokens."""
    left = _shuffled(_modules(files("foredraft"), "foredraft"))
    prompts = []
    for task, tokens in LENGTHS.items():
        for kind, question in QUESTIONS.items():
            chosen = _taken(left, int(tokens * CHARACTERS) - len(question))
            asked = question.format(first=chosen[0][0], last=chosen[-1][0])
            prompts.append(Prompt(f"long-{task}-{kind}", task, (f"{_document(chosen)}\n\n{asked}",)))
    return tuple(prompts)


def _passage(text: str) -> str:
    """What stands after the instruction."""
    return text.partition("\n\n")[2].strip()


def _modules(folder: Traversable, name: str) -> Iterator[tuple[str, str]]:
    """Name and text of every module that has some."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("_"):
            yield from _modules(entry, f"{name}.{entry.name}")
        elif entry.name.endswith(".py") and not entry.name.startswith("_"):
            yield f"{name}.{entry.name.removesuffix('.py')}", entry.read_text(encoding="utf-8").strip()


def _shuffled(modules: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """In an order that has nothing to do with what is in them, and that no random number generator could change."""
    return sorted(modules, key=lambda module: hashlib.sha256(module[0].encode()).digest())


def _taken(left: list[tuple[str, str]], room: int) -> list[tuple[str, str]]:
    """Takes out of those that are left the first whose document fits into `room` characters: none is met twice."""
    chosen: list[tuple[str, str]] = []
    for module in left:
        if len(_document([*chosen, module])) <= room:
            chosen.append(module)
        elif len(_document(chosen)) > FULL * room:
            break
    for module in chosen:
        left.remove(module)
    return chosen


def _document(modules: Sequence[tuple[str, str]]) -> str:
    return "\n\n".join(f"Module `{name}`:\n\n```python\n{text}\n```" for name, text in modules)
