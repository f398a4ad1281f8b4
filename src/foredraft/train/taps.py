"""Hidden states of the target beside its texts, as the engine's own pass leaves them, to be trained on again and again.

Beside TEXTS lies a directory TEXTS.taps: `about.json` says of which target and layers; `N.f16` are shards of float16,
[rows, layers, width], little-endian, a row for every token of a text; `rows.jsonl` has a line a text, its digest, its
shard, the first row there and how many. A line is written after its rows, so a run that was killed goes on where it
stood.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import ForedraftError, UsageError
from foredraft.core.protocols import Model, Query
from foredraft.heads.files import replace
from foredraft.train.corpus import Text

Halves = NDArray[np.float16]
Tell = Callable[[str], None]
GIGA = 1e9
CHUNK = 512  # rows of a pass
SHARD = 1 << 28  # bytes after which the next is begun
WRITTEN = 32  # texts that are written together
VERSION = 1
COMPUTED = ("backend", "activations", "keys and values")  # of how an engine computes: what its states depend on


@dataclass(frozen=True)
class Kept:
    """layers: after how many of the target's layers, ascending; the last is always there, for the laws are made of it.
    engine: how it computed."""

    target: str
    fingerprint: str
    width: int
    layers: tuple[int, ...]
    engine: dict[str, str] = field(default_factory=dict)
    version: int = VERSION

    @property
    def row(self) -> int:
        """Bytes of a token."""
        return 2 * len(self.layers) * self.width


@dataclass(frozen=True)
class Place:
    shard: int
    start: int
    rows: int


class Taps:
    """What is kept at `folder`. Raises UsageError where it cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._maps = folder, dict[int, mmap.mmap]()
        try:
            raw = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            self.about = Kept(**{**raw, "layers": tuple(raw["layers"])})
            if self.about.version != VERSION:
                raise ValueError(f"version {self.about.version}")
            self.places = _places(folder / "rows.jsonl")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"the hidden states in {folder} cannot be read ({error}): make them by `foredraft train data --taps`"
            ) from error

    def check(self, texts: Sequence[Text]) -> None:
        """Raises UsageError for a text of which nothing is kept."""
        for text in texts:
            if digest(text) not in self.places:
                raise UsageError(
                    f"{self.folder} has nothing of text {text.id!r}: run `foredraft train data --taps` again, to go on"
                )

    def of(self, text: Text, layers: Sequence[int]) -> Halves:
        """[tokens, layers, width], read from a map. Raises UsageError for what is not kept."""
        if missing := set(layers) - set(self.about.layers):
            raise UsageError(
                f"layer {min(missing)} is not among those in {self.folder}, {_listed(self.about.layers)}: "
                "keep it too by `foredraft train data --taps`, with another --out"
            )
        self.check([text])
        place, row = self.places[digest(text)], self.about.row
        begin, end = place.start * row, (place.start + place.rows) * row
        try:
            with _paged(self._shard(place.shard), begin, end) as shard:
                whole = np.frombuffer(shard, "<f2", (end - begin) // 2, begin)
                every = whole.reshape(_tokens(text), len(self.about.layers), self.about.width)
                own: Halves = every[:, [self.about.layers.index(layer) for layer in layers]]
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.folder} is damaged ({error}): remove it, and run `foredraft train data --taps` again"
            ) from error
        return own

    def _shard(self, number: int) -> mmap.mmap:
        if number not in self._maps:
            with (self.folder / f"{number}.f16").open("rb") as file:
                self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if sys.platform != "win32":
                self._maps[number].madvise(mmap.MADV_RANDOM)
        return self._maps[number]


@contextmanager
def _paged(shard: mmap.mmap, begin: int, end: int) -> Iterator[mmap.mmap]:
    """These bytes are asked for at once, and nothing around them; afterwards they count no more as this process's."""
    first = begin // mmap.PAGESIZE * mmap.PAGESIZE
    if end > len(shard):
        raise ValueError(f"a shard ends at {len(shard)}, before {end}")
    if sys.platform != "win32":
        shard.madvise(mmap.MADV_WILLNEED, first, end - first)
    yield shard
    if sys.platform != "win32":
        shard.madvise(mmap.MADV_DONTNEED, first, end - first)


@dataclass(frozen=True)
class Keeping:
    """How hidden states are kept. layers: besides the last; none for those that the methods read. most: bytes of disk
    that they may take."""

    model: Model
    folder: Path
    layers: tuple[int, ...] = ()
    most: float = 10 * GIGA

    @cached_property
    def about(self) -> Kept:
        about = self.model.about
        outside = [layer for layer in self.layers if not 0 <= layer <= about.layers]
        if outside:
            raise UsageError(f"{about.name} has states after 0 to {about.layers} layers, not after {outside[0]}")
        read = self.layers or (*spread(about.layers), about.layers - 1)
        details = dict(about.details)
        chosen = tuple(sorted({*read, about.layers}))
        return Kept(about.name, details.get("fingerprint", ""), about.width, chosen, details)

    def expect(self, tokens: int, tell: Tell, most: str = "") -> None:
        """Says what the hidden states of so many tokens take, with those that are there. Raises UsageError where that
        is more than is allowed, or than the disk has."""
        have = sum(path.stat().st_size for path in self.folder.glob("*.f16")) if self.folder.exists() else 0
        need = tokens * self.about.row
        above = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(above).free
        said = f"hidden states of {tokens} tokens after {_listed(self.about.layers)} layers take {most}{giga(need)}"
        tell(f"{said}; {giga(free)} are free")
        remedy = "name fewer layers by --taps, or make fewer texts"
        if need > self.most:
            raise UsageError(f"{said}, and {giga(self.most)} are allowed: {remedy}, or allow more by --disk")
        if need - have > free:
            raise UsageError(f"{said}, and {giga(free)} are free: {remedy}, or give an --out on another disk")

    def keep(self, texts: Sequence[Text], tell: Tell = print, deadline: float | None = None) -> int:
        """Keeps what is not yet kept of these texts; of how many it is there. deadline: by the clock that goes on."""
        self.expect(sum(map(_tokens, texts)), tell)
        self._begin()
        places = _places(self.folder / "rows.jsonl")
        waiting = list({digest(text): text for text in texts if digest(text) not in places}.values())
        done, began, place = len(places), time.monotonic(), max(places.values(), key=_end, default=Place(0, 0, 0))
        for begin in range(0, len(waiting), WRITTEN):
            group = waiting[begin : begin + WRITTEN]
            place = self._write(group, place)
            done += len(group)
            spent, count = time.monotonic() - began, done - len(places)
            left = spent / count * (len(waiting) - count)
            tell(f"hidden states of {done} of {len(places) + len(waiting)} texts, {left:.0f} s to go")
            if deadline is not None and time.monotonic() > deadline:
                tell("stopped, for the time is up: run it again to go on")
                break
        return done

    def _begin(self) -> None:
        """Writes what they are, or holds against it what is asked for; cuts off what a killed run left."""
        about, path = self.about, self.folder / "about.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            replace(path, json.dumps(asdict(about)).encode())
        own = Taps(self.folder).about
        if (own.fingerprint, own.layers, own.width) != (about.fingerprint, about.layers, about.width):
            raise UsageError(
                f"{self.folder} has hidden states of {own.target} after {_listed(own.layers)} layers: "
                "ask for the same, or give another --out"
            )
        for what in COMPUTED:
            said, now = (one.engine.get(what) for one in (own, about))
            if said != now and None not in (said, now):  # older ones do not say
                raise UsageError(
                    f"{self.folder} has states of {what} {said}, not {now}: ask for the same, or give another --out"
                )
        rows = self.folder / "rows.jsonl"
        if rows.exists() and not rows.read_bytes().endswith(b"\n"):
            replace(rows, b"".join(line for line in rows.read_bytes().splitlines(True) if line.endswith(b"\n")))

    def _write(self, texts: Sequence[Text], last: Place) -> Place:
        """Behind the last place that was written; the new last one."""
        lines = list[str]()
        try:
            for text in texts:
                shard, start = (last.shard, last.start + last.rows)
                if start * self.about.row >= SHARD:
                    shard, start = shard + 1, 0
                states = halves(self.model, (*text.prompt, *text.response), self.about.layers)
                last = Place(shard, start, len(states))
                with (self.folder / f"{shard}.f16").open("ab") as file:
                    if file.tell() < start * self.about.row:
                        raise OSError(f"{shard}.f16 is shorter than it was")
                    file.truncate(start * self.about.row)  # what was written before a kill has no line
                    file.write(states.astype("<f2", copy=False).tobytes())
                lines.append(json.dumps({"text": digest(text), **asdict(last)}) + "\n")
            with (self.folder / "rows.jsonl").open("a", encoding="utf-8") as rows:
                rows.writelines(lines)
        except OSError as error:
            raise ForedraftError(
                f"hidden states cannot be written to {self.folder} ({error}): make room, and run it again to go on"
            ) from error
        return last


def halves(model: Model, tokens: Sequence[int], layers: Sequence[int]) -> Halves:
    """[tokens, layers, width]: the target's states after these layers at every token of a text, rounded to float16."""
    found = list[NDArray[np.float32]]()
    with closing(model.open()) as cache:
        for begin in range(0, len(tokens), CHUNK):
            own = tuple(tokens[begin : begin + CHUNK])
            (scores,) = model.score([Query(cache, own, tuple(range(-1, len(own) - 1)), taps=tuple(layers))])
            found.append(np.stack([scores.taps(layer) for layer in layers], axis=1))
            cache.keep(range(len(own)))
    with np.errstate(over="ignore"):  # looked at below
        rounded = np.concatenate(found).astype(np.float16)
    if not np.isfinite(rounded).all():
        layer = layers[int(np.argwhere(~np.isfinite(rounded))[0][1])]
        raise UsageError(f"float16 cannot hold what {model.about.name} has after {layer} layers: leave --taps out")
    return rounded


def folder_of(texts: Path) -> Path:
    """Where the hidden states of a file of texts lie."""
    return texts.with_name(texts.name + ".taps")


def spread(layers: int) -> tuple[int, ...]:
    """EAGLE-3's three places of a target (2503.01840): near its first layer, in the middle, near its last."""
    return min(2, layers - 1), layers // 2, max(layers - 3, 0)


def digest(text: Text) -> str:
    """Of its tokens, by which it is found again."""
    return hashlib.sha256(repr((text.prompt, text.response)).encode()).hexdigest()[:32]


def _places(path: Path) -> dict[str, Place]:
    """A last line cut short is left out."""
    return {raw.pop("text"): Place(**raw) for raw in _lines(path)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines(True) if path.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)


def _tokens(text: Text) -> int:
    return len(text.prompt) + len(text.response)


def _end(place: Place) -> tuple[int, int]:
    return place.shard, place.start + place.rows


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


def giga(count: float) -> str:
    return f"{count / GIGA:.2f} GB" if count >= GIGA / 100 else f"{count / 1e6:.2f} MB"
