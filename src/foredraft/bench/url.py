"""Measuring a server: the prompts of a suite, streamed, by so many users at a time.

A user asks one prompt after the other, each turn going on from the server's own answer to the turn before. What fails
is kept as a failure and the run goes on; only after many failures in a row are the remaining requests not made.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from foredraft.bench.prompts import Prompt
from foredraft.bench.record import DIGITS, Json
from foredraft.bench.url_client import Question, Reply, Server
from foredraft.bench.url_record import Answer, Counted, id_of

GIVE_UP = 10  # failures in a row
WARM_UP = 4  # tokens
HELLO = Prompt("warm-up", "warm-up", ("Say yes.",))


@dataclass(frozen=True)
class Asking:
    """How every prompt is asked. usage: the server is asked to count tokens. owner: who the server says it is."""

    model: str
    max_tokens: int
    temperature: float
    seed: int
    completions: bool
    usage: bool = True
    owner: str = ""

    def question(self, prompt: Prompt, turn: int, answers: Sequence[str]) -> Question:
        """Turn `turn` (from 0) of a prompt, after the answers to those before."""
        said = [prompt.turns[0]]
        for answer, text in zip(answers, prompt.turns[1 : turn + 1], strict=True):
            said += [answer, text]
        seed = (self.seed + zlib.crc32(prompt.cases[turn].encode())) & 0x7FFFFFFF
        return Question(tuple(said), self.max_tokens, self.temperature, seed, self.completions, self.usage)

    def extra(self, session: int, concurrency: int) -> dict[str, Any]:
        """Fields of one server alone that keep it from knowing a prompt from before."""
        if self.owner == "llamacpp":
            return {"cache_prompt": False}
        return {"cache_salt": f"{session}-{concurrency}"} if self.owner == "vllm" else {}


def agree(server: Server, asking: Asking) -> Asking:
    """A few untimed tokens. A server that refuses to be asked for its token counts is asked without.

    Any other failure shows in the run that follows.
    """
    question = replace(asking.question(HELLO, 0, ()), max_tokens=WARM_UP)
    extra = asking.extra(0, 0)
    if server.ask(question, asking.model, extra).status not in (400, 422):
        return asking
    without = server.ask(replace(question, usage=False), asking.model, extra)
    return replace(asking, usage=False) if without.failure is None else asking


@dataclass(frozen=True)
class Level:
    """So many users at a time, in one session (start of the command). origin: when the session began.

    done: what an earlier session asked, by id; what failed there is asked again. stop: set when no more is to be asked.
    """

    server: Server
    asking: Asking
    concurrency: int
    session: int
    origin: float
    done: Mapping[str, Answer]
    stop: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        prompts: Sequence[Prompt],
        keep: Callable[[Json], None] = lambda found: None,
        each: Callable[[int], None] = lambda made: None,
    ) -> list[Answer | Counted]:
        """Asks what is left; `keep` is given every line, `each` told how many answers there are.

        What the server's own counters grew by comes last, where it has any and anything was asked.
        """
        before = self.server.counters()
        found: list[Answer | Counted] = []
        failed = 0
        for answer in self._answers(prompts):
            keep(answer.as_json())
            found.append(answer)
            each(len(found))
            failed = failed + 1 if answer.failure is not None else 0
            if failed >= GIVE_UP:
                self.stop.set()
        after = self.server.counters() if before is not None and found else None
        if before is not None and after is not None:
            counted = Counted(self.concurrency, self.session, after - before)
            keep(counted.as_json())
            found.append(counted)
        return found

    def _answers(self, prompts: Sequence[Prompt]) -> Iterator[Answer]:
        """As they come. Threads are the users; they end with the process, even one that waits for a dead server."""
        waiting: SimpleQueue[Prompt] = SimpleQueue()
        found: SimpleQueue[Answer | BaseException | None] = SimpleQueue()
        for prompt in prompts:
            waiting.put(prompt)
        for _ in range(self.concurrency):
            threading.Thread(target=self._user, args=(waiting, found), daemon=True).start()
        users = self.concurrency
        while users:
            answer = found.get()
            if answer is None:
                users -= 1
            elif isinstance(answer, BaseException):
                raise answer
            else:
                yield answer

    def _user(self, waiting: SimpleQueue[Prompt], found: SimpleQueue[Answer | BaseException | None]) -> None:
        try:
            while not self.stop.is_set():
                for answer in self._conversation(waiting.get_nowait()):
                    found.put(answer)
        except Empty:
            pass
        except BaseException as error:
            found.put(error)
        found.put(None)

    def _conversation(self, prompt: Prompt) -> Iterator[Answer]:
        """The turns that are not done. After one that failed there is nothing to go on from."""
        said: list[str] = []
        for turn, case in enumerate(prompt.cases):
            earlier = self.done.get(id_of(self.concurrency, case))
            if earlier is None or earlier.failure is not None:
                if self.stop.is_set():
                    return
                answer = self._ask(prompt, turn, said)
                yield answer if earlier is None else answer.asked_before(earlier)
                if answer.failure is not None:
                    return
                earlier = answer
            said.append(earlier.text)

    def _ask(self, prompt: Prompt, turn: int, said: Sequence[str]) -> Answer:
        question, extra = self.asking.question(prompt, turn, said), self.asking.extra(self.session, self.concurrency)
        reply: Reply = self.server.ask(question, self.asking.model, extra)
        reading = reply.reading
        return Answer(
            self.concurrency,
            prompt.cases[turn],
            prompt.id,
            prompt.task,
            self.session,
            # As it will be read again: a run that goes on sees the same figures.
            round(reply.begun - self.origin, DIGITS),
            round(reply.seconds, DIGITS),
            tuple(round(at, DIGITS) for at in reading.arrivals),
            reading.text,
            reading.tokens,
            reading.prompt_tokens,
            reading.finish,
            reading.counters,
            reply.failure,
        )
