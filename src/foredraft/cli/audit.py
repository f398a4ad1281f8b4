"""`foredraft audit`: a certificate that speculation changes nothing here, or where it does."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import foredraft
from foredraft.audit.certificate import Audit, Json, as_json, page
from foredraft.audit.everyone import everyone, named
from foredraft.audit.exact import enumerate_cases
from foredraft.audit.identical import (
    Compared,
    Identical,
    Scope,
    compare_texts,
    compared_of,
    fitting,
    meets_all,
    spread,
)
from foredraft.audit.mutants import MUTANTS, try_mutant
from foredraft.audit.parity import Parity, heads_of, parity
from foredraft.audit.sampled import count_texts
from foredraft.bench.entrants import ALL, Entrant, Variant, admit
from foredraft.bench.journal import Records
from foredraft.bench.machine import commit, isa_of, machine, weights_hash
from foredraft.bench.prompts import Prompt
from foredraft.bench.suites import hash_of, load_suite
from foredraft.cli.progress import counting
from foredraft.cli.show import loading
from foredraft.core.errors import UsageError
from foredraft.engine.backends import Loaded, load_model

FORMAT = 1  # of the lines in a folder of --out
OPENING = "The best thing about living near the sea is that"


@dataclass(frozen=True)
class Size:
    """How much is done. step: every so many-th world; texts: of each verifier; prompts: `auto`'s; few: the others'."""

    step: int
    texts: int
    prompts: int
    few: int
    max_tokens: int


QUICK = Size(step=4, texts=1200, prompts=3, few=1, max_tokens=32)
SLOW = Size(step=4, texts=1200, prompts=2, few=1, max_tokens=12)  # QUICK on an engine without its own fast passes
FULL = Size(step=1, texts=5000, prompts=200, few=24, max_tokens=64)


class Journal(Records[Compared]):
    """The folder of an audit: a case is one prompt at one temperature with all drafters."""

    def parse(self, found: Json) -> Compared:
        return compared_of(found)


@dataclass(frozen=True)
class Job:
    """One call of the command, its options as given."""

    model: str
    engine: str
    threads: int | None
    drafters: str | None
    suite: str
    quick: bool
    raw: bool
    out: str | None
    json: bool

    def run(self) -> int:
        """Audits and prints; returns the exit status: 1 unless everything passed."""
        prompts = load_suite(self.suite)
        with ExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory())
            variants, left = self._variants(folder)
            with loading(self.model) as progress:
                loaded = load_model(self.model, engine=self.engine, threads=self.threads, progress=progress)
                stack.callback(loaded.model.close)
                entrants, unable = admit(loaded, variants, progress, strict=not self._all)
            for entrant in entrants:
                stack.callback(entrant.close)
            size = self._size(loaded)
            most = size.prompts if any(meets_all(entrant.name) for entrant in entrants[1:]) else size.few
            chosen = spread(fitting(entrants[0].llm, prompts, size.max_tokens, self.raw), most)
            if not chosen:
                raise UsageError("no prompt of the suite fits into the model's context: give --suite shorter ones")
            setup = self._setup(loaded, [entrant.name for entrant in entrants[1:]], {**left, **unable}, chosen, size)
            found = as_json(self._audit(loaded, entrants, chosen, size, setup))
        print(jsonlib.dumps(found) if self.json else "\n".join(page(found)))
        return 0 if found["passed"] else 1

    @property
    def _all(self) -> bool:
        return self.drafters is None or self.drafters.strip() == ALL

    def _variants(self, folder: str) -> tuple[list[Variant], dict[str, str]]:
        """Who is to take part, and why others are not."""
        if self.drafters is None or self._all:
            return everyone(self.model, folder)
        return named(self.drafters, self.model, folder), {}

    def _size(self, loaded: Loaded) -> Size:
        if not self.quick:
            return FULL
        return QUICK if loaded.engine == "native" else SLOW

    def _audit(
        self, loaded: Loaded, entrants: Sequence[Entrant], prompts: tuple[Prompt, ...], size: Size, setup: Json
    ) -> Audit:
        """Texts are compared first: of all that is done they alone are kept, so going on costs nothing twice."""
        journal = Journal(self.out, setup) if self.out is not None else None
        identical = self._compare(entrants, Scope(prompts, size.few, size.max_tokens, raw=self.raw), journal)
        with counting("worlds") as each:
            exact = enumerate_cases(size.step, each=each)
        with counting("mutants") as each:
            mutants = []
            for place, mutant in enumerate(MUTANTS):
                each(place, len(MUTANTS))
                mutants.append(try_mutant(mutant))
        with counting("counted texts") as each:
            opening = tuple(loaded.tokenizer.encode(OPENING))
            sampled = count_texts(loaded.model, opening, size.texts, each)
        audit = Audit(setup, exact, tuple(mutants), sampled, identical, self._parity(loaded, entrants, prompts, size))
        if journal is not None:
            journal.finish(as_json(audit))
        return audit

    def _parity(
        self, loaded: Loaded, entrants: Sequence[Entrant], prompts: tuple[Prompt, ...], size: Size
    ) -> tuple[Parity, ...]:
        """Every trained head that took part."""
        paths = {path: None for entrant in entrants[1:] for path in heads_of(entrant.name, loaded.model)}
        with counting("heads") as each:
            found = []
            for place, path in enumerate(paths):
                each(place, len(paths))
                found.append(parity(entrants[0].llm, path, prompts[: size.few], size.max_tokens, raw=self.raw))
        return tuple(found)

    def _compare(self, entrants: Sequence[Entrant], scope: Scope, journal: Journal | None) -> Identical:
        done: Mapping[str, Compared] = journal.done if journal is not None else {}
        if done:
            print(f"{len(done)} of {len(scope.ids)} cases were compared before", file=sys.stderr)

        def keep(found: Compared) -> None:
            if journal is not None:
                journal.add(asdict(found))

        try:
            with counting("prompts x temperatures") as each:
                return Identical(tuple(compare_texts(entrants, scope, done=done, keep=keep, each=each)))
        except KeyboardInterrupt:
            if journal is not None:
                print(f"interrupted: run the same command again to go on from {journal.folder}", file=sys.stderr)
            raise

    def _setup(
        self,
        loaded: Loaded,
        drafters: Sequence[str],
        left_out: Mapping[str, str],
        prompts: Sequence[Prompt],
        size: Size,
    ) -> Json:
        """All that the result depends on."""
        return {
            "model": loaded.source.name,
            "model_sha256": weights_hash(loaded.source),
            "engine": loaded.engine,
            "isa": isa_of(loaded),
            "threads": loaded.threads,
            "row_invariant": loaded.model.about.row_invariant,
            "suite": Path(self.suite).name,
            "suite_sha256": hash_of(prompts),
            "asked": list(drafters),
            "left_out": dict(left_out),
            "size": asdict(size),
            "raw": self.raw,
            "machine": machine(),
            "version": foredraft.__version__,
            "commit": commit(),
            "format": FORMAT,
        }
