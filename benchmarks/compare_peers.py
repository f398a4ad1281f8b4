"""foredraft against other engines that speculate on a processor: the same file, the same prompts, in turn.

    compare_peers.py --prompts FILE.jsonl [--model smollm2] [--draft-model FILE.gguf] [--limit-per-task 4]
                     [--max-tokens 128] [--peers foredraft,llama.cpp,transformers,openvino] [--drafters auto none]
                     [--threads N] [--out FOLDER] [--minutes N]
    compare_peers.py --report FOLDER

llama.cpp is built (see llama_cpp/build.py) and OpenVINO GenAI installed into an environment of its own, both outside
the repository, when first needed. Every engine's ways of decoding have variants (flags, lengths of drafts, types of
numbers); two prompts choose the fastest of each, and all of those then answer every prompt, one after the other in an
order that changes, each with the same number of tokens. An engine that cannot run is in the table with the reason.

Every figure is written to --out as it is measured; started again, a run goes on where it stopped. --minutes ends it
after so long, with status 75 when there is more to do. `make tables` puts the table into docs/measured.md.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from asked import Prompt, read_prompts
from peers.hugging_face import HuggingFace
from peers.llama_server import LlamaServer
from peers.open_vino import OpenVino
from peers.ours import Foredraft
from peers.peer import Given, Peer, PeerError
from peers.table import table
from records import ROOT, Log, OtherRun, commit, machine, read, sha256

import foredraft
from foredraft.bench.suites import in_turn
from foredraft.core.errors import ForedraftError, UsageError
from foredraft.engine.llm import LLM, load
from foredraft.engine.threads import available_threads
from foredraft.models.sources import resolve

RESULTS = ROOT / "benchmarks" / "results" / "peers"
CACHE = Path("~/.cache/foredraft/peers").expanduser()
FIGURES = "figures.jsonl"
MORE_TO_DO = 75
PAUSE = 0.2  # seconds between arms: threads of the last one may still be waiting for work
TRIED, TRIED_TOKENS = 2, 48
PEERS = ("foredraft", "llama.cpp", "transformers", "openvino")


class TimeUp(Exception):
    """The minutes are over."""


class Comparison:
    """All engines on one file."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.until = time.monotonic() + 60 * options.minutes if options.minutes else None
        source = resolve(options.model)
        if source.kind != "gguf":
            raise UsageError(f"{options.model} is no GGUF file, which is what all engines read: give one")
        self.file = source.path
        self.draft = resolve(options.draft_model).path if options.draft_model else None
        self.threads: int = options.threads or available_threads()
        self.llm: LLM = load(str(self.file), "none", threads=self.threads)
        ends = tuple(sorted(self.llm.tokenizer.stop_ids))
        given = Given(self.file, self.draft, self.threads, ends, CACHE)
        makers = {
            "foredraft": lambda: Foredraft(given, self.llm, options.drafters),
            "llama.cpp": lambda: LlamaServer(given),
            "transformers": lambda: HuggingFace(given),
            "openvino": lambda: OpenVino(given),
        }
        self.peers: list[Peer] = [makers[name]() for name in options.peers]
        self.log = Log(options.out / FIGURES, self._header())

    def run(self) -> None:
        """Raises TimeUp when there is more to do."""
        with ExitStack() as stack:
            for peer in self.peers:
                stack.enter_context(peer)
            arms: dict[str, tuple[Peer, str]] = {}
            for peer in self.peers:
                if "cannot" in self.log.header["peers"][peer.name]:
                    self._cannot(peer.name, self.log.header["peers"][peer.name]["cannot"])
                    continue
                for way, variants in peer.ways.items():
                    arm = f"{peer.name} {way}"
                    variant = self._fastest(peer, arm, variants)
                    if variant is not None:
                        arms[arm] = (peer, variant)
                peer.stop()
            self._measure(arms)

    # --- which variant ------------------------------------------------------------------------------------------------

    def _fastest(self, peer: Peer, arm: str, variants: Sequence[str]) -> str | None:
        """The one that takes least over the first prompts; None where none of them runs, which is noted."""
        if ("cannot", arm) in self.log.done:
            return None
        if len(variants) == 1:
            return variants[0]
        failed: dict[str, str] = {}
        for variant in variants:
            left = [one for one in self._prompts[:TRIED] if ("try", arm, variant, one.id) not in self.log.done]
            if not left or ("fails", arm, variant) in self.log.done:
                continue
            self._in_time()
            _say(f"try: {arm}, {variant}")
            try:
                peer.start([variant])
                peer.complete(variant, left[0].ids, TRIED_TOKENS)
                for prompt in left:
                    answer = peer.complete(variant, prompt.ids, TRIED_TOKENS)
                    self.log.add(("try", arm, variant, prompt.id), arm=arm, variant=variant, seconds=answer.seconds)
            except PeerError as error:
                failed[variant] = str(error)
                self.log.add(("fails", arm, variant), arm=arm, variant=variant, reason=self._plainly(error))
            if not peer.shared:
                peer.stop()
        spent = self._tried(arm)
        if not spent:
            self._cannot(arm, next(iter(failed.values()), "every variant failed"))
            return None
        return min(spent, key=lambda variant: spent[variant])

    def _tried(self, arm: str) -> dict[str, float]:
        """variant -> seconds over all prompts it was tried on, of those that answered them all."""
        found: dict[str, list[float]] = {}
        for record in self.log.records:
            if record["key"][0] == "try" and record["arm"] == arm:
                found.setdefault(record["variant"], []).append(record["seconds"])
        most = max(map(len, found.values()), default=0)
        return {variant: sum(spent) for variant, spent in found.items() if len(spent) == most}

    # --- the comparison -----------------------------------------------------------------------------------------------

    def _measure(self, arms: dict[str, tuple[Peer, str]]) -> None:
        keys = [("measure", arm, prompt.id) for prompt in self._prompts for arm in arms]
        if self.log.done.issuperset(keys):
            return
        for arm, (peer, variant) in list(arms.items()):
            self._in_time()
            _say(f"start: {arm}, {variant}")
            try:
                peer.start([variant])
                peer.complete(variant, self._prompts[0].ids, 16)
            except PeerError as error:
                self._cannot(arm, str(error))
                del arms[arm]
        for place, prompt in enumerate(self._prompts):
            order = [arm for arm in arms if ("measure", arm, prompt.id) not in self.log.done]
            random.Random(place).shuffle(order)
            for arm in order:
                self._in_time()
                self._answer(arm, arms, prompt)
            _say(f"{place + 1} of {len(self._prompts)}: {prompt.id}")

    def _answer(self, arm: str, arms: dict[str, tuple[Peer, str]], prompt: Prompt) -> None:
        peer, variant = arms[arm]
        time.sleep(PAUSE)
        try:
            answer = peer.complete(variant, prompt.ids, self.options.max_tokens)
        except PeerError as error:
            self._cannot(arm, str(error))
            del arms[arm]
            return
        asked = {"arm": arm, "variant": variant, "prompt": prompt.id, "task": prompt.task}
        self.log.add(("measure", arm, prompt.id), **asked, prompt_tokens=len(prompt.ids), **asdict(answer))

    def _cannot(self, arm: str, reason: str) -> None:
        _say(f"{arm} cannot run: {reason}")
        if ("cannot", arm) not in self.log.done:
            self.log.add(("cannot", arm), arm=arm, reason=self._plainly(reason))

    def _plainly(self, reason: object) -> str:
        """Without the paths of this machine."""
        return " ".join(str(reason).split()).replace(str(self.file.parent), "…").replace(str(Path.home()), "~")

    def _in_time(self) -> None:
        if self.until is not None and time.monotonic() > self.until:
            raise TimeUp

    @cached_property
    def _prompts(self) -> list[Prompt]:
        """In turn from every task, so that a run that is cut short has seen all of them."""
        return in_turn(read_prompts(self.options.prompts, self.llm, per_task=self.options.limit_per_task))

    def _header(self) -> dict[str, Any]:
        return {
            "comparison": "peers",
            "model": self.options.model,
            "file": self.file.name,
            "sha256": sha256(self.file),
            "draft": self.draft.name if self.draft is not None else None,
            "drafters": self.options.drafters,
            "prompts": {"file": self.options.prompts.name, "sha256": sha256(self.options.prompts)},
            "limit_per_task": self.options.limit_per_task,
            "max_tokens": self.options.max_tokens,
            "threads": self.threads,
            "peers": {peer.name: self._about(peer) for peer in self.peers},
            "machine": machine(),
            "version": foredraft.__version__,
            "commit": commit(),
        }

    def _about(self, peer: Peer) -> Mapping[str, Any]:
        try:
            return dict(peer.about)
        except PeerError as error:
            return {"cannot": self._plainly(error)}


def _options(words: Iterable[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a known name or a GGUF file")
    parser.add_argument("--draft-model", help="a second model of the same family, for those that can use one")
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--limit-per-task", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(PEERS))
    parser.add_argument("--drafters", nargs="*", default=["auto", "none"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="only print the table of earlier figures")
    options = parser.parse_args(None if words is None else list(words))
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"unknown peer {min(unknown)!r}: choose from {', '.join(PEERS)}")
    if "foredraft" not in options.peers or not {"auto", "none"} <= set(options.drafters):
        parser.error("foredraft auto and none are what the others are compared with: leave them in")
    if options.report is None and options.prompts is None:
        parser.error("give --prompts, a file of JSON lines {id, task, turns}")
    options.out = options.out or RESULTS / options.model
    return options


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if options.report is None:
            Comparison(options).run()
        print(table(*read((options.report or options.out) / FIGURES)))
    except TimeUp:
        _say(f"the time is over: the same command goes on from {options.out}")
        return MORE_TO_DO
    except (OtherRun, ForedraftError, OSError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that servers and processes are ended on the way out


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
