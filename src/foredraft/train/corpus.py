"""Texts to train on: prompts with the target's own responses, one JSON object a line.

The first line is {"target", "fingerprint"}: who said them. The others are {"id", "task", "prompt": [ids],
"response": [ids], "temperature"}. Files grow line by line, so that a run that was killed goes on where it stood; a line
cut short at the end is dropped.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from foredraft.core.errors import UsageError
from foredraft.heads.files import replace

HELD_OUT = 40  # one text in so many is never trained on
HEAD = '{"target":'  # how a first line begins that says who spoke
BEGINNING = '{"id":'  # how the lines of texts begin


@dataclass(frozen=True)
class Text:
    """Token ids of a prompt as the target saw it, and of what it answered."""

    id: str
    task: str
    prompt: tuple[int, ...]
    response: tuple[int, ...]
    temperature: float = 0.0

    @property
    def held_out(self) -> bool:
        """Chosen by the prompt, so that no two responses to one prompt stand on both sides."""
        return hashlib.sha256(repr(self.prompt).encode()).digest()[0] * HELD_OUT < 256


@dataclass(frozen=True)
class Speaker:
    """Who said texts. fingerprint: of the target (`models/fingerprint.py`)."""

    target: str
    fingerprint: str


def begin(path: Path, speaker: Speaker) -> None:
    """A file without texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, (json.dumps(asdict(speaker)) + "\n").encode())


def speaker_of(path: Path) -> Speaker | None:
    """None for a file that does not say, as older ones do not."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return Speaker(**json.loads(first)) if first.startswith(HEAD) and first.endswith("\n") else None


def append(path: Path, texts: Iterable[Text]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps(asdict(text), separators=(",", ":")) + "\n")


def read(path: Path) -> list[Text]:
    """Raises UsageError, naming the line, for one that is no text; a last line cut short is left out."""
    texts: list[Text] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the texts in {path} cannot be read ({error}): make them by `foredraft train data`"
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.startswith(HEAD)):
            continue
        try:
            raw = json.loads(line)
            texts.append(
                Text(raw["id"], raw["task"], tuple(raw["prompt"]), tuple(raw["response"]), float(raw["temperature"]))
            )
        except (ValueError, KeyError, TypeError) as error:
            cut = number == len(lines) and isinstance(error, json.JSONDecodeError)
            if cut and BEGINNING[: len(line)] == line[: len(BEGINNING)]:  # as lines are written here
                break
            raise UsageError(f"line {number} of {path} is no text to train on ({error}): remove it") from error
    return texts


def repair(path: Path) -> None:
    """Cuts off the part of a last line that a killed run left behind; ends one that is whole."""
    content = path.read_bytes() if path.exists() else b""
    last = content.rpartition(b"\n")[2]
    if last:
        replace(path, content + b"\n" if _is_whole(last) else content[: -len(last)])


def _is_whole(line: bytes) -> bool:
    """The object that every line is ends with its last byte."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def common(texts: Iterable[Text], count: int) -> list[int]:
    """The `count` tokens that responses hold most often, ascending; after them those of prompts."""
    said, read = Counter[int](), Counter[int]()
    for text in texts:
        said.update(text.response)
        read.update(text.prompt)
    ranked = [token for token, _ in said.most_common()] + [token for token, _ in read.most_common()]
    return sorted(list(dict.fromkeys(ranked))[:count])


def coverage(texts: Iterable[Text], vocabulary: Iterable[int]) -> float:
    """The share of the responses' tokens that the vocabulary has."""
    known, inside, every = frozenset(vocabulary), 0, 0
    for text in texts:
        inside += sum(token in known for token in text.response)
        every += len(text.response)
    return inside / max(every, 1)


def batches(texts: Sequence[Text], tokens: int, seed: int) -> Iterator[list[Text]]:
    """One pass over the texts in batches of about `tokens`, padding counted; lengths alike, order by chance."""
    chance = random.Random(seed)
    shuffled = sorted(texts, key=lambda text: (len(text.prompt) + chance.uniform(0, 64), len(text.response)))
    found, batch, widest = [], list[Text](), [0, 0]
    for text in shuffled:
        wider = [max(widest[0], len(text.prompt)), max(widest[1], len(text.response))]
        if batch and sum(wider) * (len(batch) + 1) > tokens:
            found.append(batch)
            batch, wider = [], [len(text.prompt), len(text.response)]
        batch, widest = [*batch, text], wider
    if batch:
        found.append(batch)
    chance.shuffle(found)
    return iter(found)
