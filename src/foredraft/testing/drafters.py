"""A conformance kit for drafters: subclass `DrafterChecks`, supply `make_drafter`, and pytest runs it on yours.

    class TestMyDrafter(DrafterChecks):
        @pytest.fixture
        def make_drafter(self, target):
            return lambda: MyDrafter(target)

Everything goes through the real round. What a drafter proposes must be a tree within its budget, drawn as asked; what
is said must be what the target alone would say: token by token under `match`, and in law, by enumeration of every
chance, under each kind of verifier. The target is a toy of three tokens unless the fixture `target` is overridden; it
must stay tiny, for the enumeration follows every branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from foredraft.core.protocols import AnyDrafter, AnyPolicy, Ask, Budget, Cache, Draw, Model, Query, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import KeyedStream, Stream
from foredraft.core.tree import DraftTree
from foredraft.engine.sequence import fork, open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.exact import BranchingStream, Chooser, distance, outcomes, plain, said
from foredraft.testing.watch import (
    PointMatch,
    Varied,
    Watched,
    assert_drawn_from_their_laws,
    assert_same_proposals,
    drive,
    feed,
    plain_text,
)
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

MakeDrafter = Callable[[], AnyDrafter]
VERIFIERS: dict[Draw, Callable[[], Verifier]] = {"point": PointMatch, "coupled": Match, "sampled": Recursive}
DRAWS: tuple[Draw, ...] = ("point", "coupled", "sampled")
FREE_OF_CHANCE: tuple[Draw, ...] = ("point", "coupled")
SEEDS = range(3)


def until(max_tokens: int, ids: Sequence[int] = ()) -> StopState:
    """Stops after so many tokens, or at one of `ids`."""
    return StopState(Stop(frozenset(ids), (), max_tokens))


class DrafterChecks:
    """drafts: False for a drafter that never drafts. prompts: those of the sequences that share passes.

    exact_tokens, exact_rows: the length of the enumerated texts and the drafts of a round.
    """

    drafts: bool = True
    prompts: tuple[tuple[int, ...], ...] = ((0, 1, 2, 0, 1), (2, 2, 1, 2, 2, 1, 2), (1,))
    max_tokens: int = 14
    exact_tokens: int = 3
    exact_rows: int = 2

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        raise NotImplementedError("supply a fixture `make_drafter`: a function that makes a fresh drafter")

    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(3, order=1, seed=11, scale=1.2))

    def request(
        self, prompt: tuple[int, ...], *, temperature: float = 1.0, seed: int = 0, choice: int = 0, tenant: str = ""
    ) -> Request:
        """Override to give requests rules or predictions."""
        return Request(prompt, seed, choice, Rules(temperature=temperature), tenant)

    # --- proposals ------------------------------------------------------------------------------------------------

    def test_needs(self, make_drafter: MakeDrafter, target: Model) -> None:
        """They are data, and the target meets them."""
        needs, about = make_drafter().needs, target.about
        assert all(0 <= layer <= about.layers for layer in needs.taps)
        assert all(0 <= layer < about.layers for layer in needs.view(about.layers))
        wanted = {"taps": bool(needs.taps), "ends": needs.ends, "layers": bool(needs.layers)}
        missing = [ability for ability, asked in wanted.items() if asked and ability not in target.abilities]
        assert not missing, f"the target does not offer {missing}"

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    @pytest.mark.parametrize("draw", DRAWS)
    def test_proposals(self, make_drafter: MakeDrafter, target: Model, draw: Draw, temperature: float) -> None:
        """Trees within the budget, drawn as asked, over many states; the committed tokens are left alone."""
        drafter, drafted = Watched(make_drafter()), 0
        for seed in SEEDS:
            requests = self._requests(temperature, seed)
            for sequence in self._run(target, drafter, requests, VERIFIERS[draw](), Varied()):
                proposals = sequence.state.proposals
                assert all(proposal.draw == draw for proposal in proposals)
                drafted += sum(proposal.tree.drafted for proposal in proposals)
                sequence.close()
        assert bool(drafted) == self.drafts, f"{drafted} tokens were drafted in all"

    @pytest.mark.parametrize("rounds", [0, 1])
    def test_recorded_laws(self, make_drafter: MakeDrafter, target: Model, rounds: int) -> None:
        """A token sampled independently carries the law it was drawn from, given ancestors and earlier siblings.

        The rounds before are enumerated too, for a drafter may have drawn ahead of time.
        """
        rows = min(self.exact_rows, 2) if rounds else self.exact_rows + 1
        request, stop, policy = self.request(self.prompts[0]), until(self.max_tokens), Constant(rows)

        def propose(chooser: Chooser) -> tuple[tuple[int, ...], DraftTree]:
            drafter, stream = make_drafter(), BranchingStream(chooser)
            sequence = open_sequence(target, drafter, Recursive(), request, stop, stream=stream)
            feed(target, policy, sequence, 2)
            drive(target, policy, [sequence], rounds=rounds)
            asked = _ask(sequence, sequence.state, Budget(rows, rows), "sampled", stream, target)
            (found,) = drafter.propose([asked])
            return tuple(sequence.output), found

        assert_drawn_from_their_laws(outcomes(propose))

    @pytest.mark.parametrize("draw", DRAWS)
    def test_nothing_fits_an_empty_budget(self, make_drafter: MakeDrafter, target: Model, draw: Draw) -> None:
        drafter = make_drafter()
        (sequence,) = self._run(target, drafter, self._requests(1.0, 0)[:1], VERIFIERS[draw](), Varied(), rounds=2)
        for budget in (Budget(0, 0), Budget(0, 4), Budget(4, 0)):
            (found,) = drafter.propose([_ask(sequence, sequence.state, budget, draw, KeyedStream(0), target)])
            assert len(found) == 0, f"{len(found)} nodes for {budget}"

    @pytest.mark.parametrize("draw", DRAWS)
    def test_the_same_stream_gives_the_same_drafts(self, make_drafter: MakeDrafter, target: Model, draw: Draw) -> None:
        first, second = (
            self._run(target, Watched(make_drafter()), self._requests(1.0, 3), VERIFIERS[draw](), Varied())
            for _ in range(2)
        )
        self._same(first, second, "a repeated run")

    # --- sequences beside each other ------------------------------------------------------------------------------

    @pytest.mark.parametrize("draw", DRAWS)
    def test_a_batch_is_its_parts(self, make_drafter: MakeDrafter, target: Model, draw: Draw) -> None:
        """Sequences of one round, each of its own tenant, draft what each would draft alone."""
        for seed in range(2):
            requests = self._requests(1.0, seed, tenants=True)
            together = self._run(target, Watched(make_drafter()), requests, VERIFIERS[draw](), Varied(), chunk=3)
            alone = [
                self._run(target, Watched(make_drafter()), [request], VERIFIERS[draw](), Varied(), chunk=3)[0]
                for request in requests
            ]
            self._same(together, alone, "a batch and its sequences alone")

    def test_tenants_share_nothing(self, make_drafter: MakeDrafter, target: Model) -> None:
        shared, prompts = Watched(make_drafter()), self.prompts
        for sequence in self._run(target, shared, [self.request(prompts[0], tenant="a")], Match(), Varied()):
            sequence.close()
        mine = [self.request(prompt, seed=1, tenant="b") for prompt in prompts]
        after = self._run(target, shared, mine, Match(), Varied())
        self._same(after, self._run(target, Watched(make_drafter()), mine, Match(), Varied()), "another tenant's text")

    @pytest.mark.parametrize("draw", DRAWS)
    @pytest.mark.parametrize("rounds", [0, 2])
    def test_forks_are_independent(self, make_drafter: MakeDrafter, target: Model, draw: Draw, rounds: int) -> None:
        """A copy of a sequence drafts the same whether the other runs first, is closed, or never was copied."""

        def begin() -> Seq:
            drafter = Watched(make_drafter())
            request = self.request(self.prompts[0], seed=2)
            sequence = open_sequence(target, drafter, VERIFIERS[draw](), request, until(self.max_tokens))
            feed(target, Varied(), sequence, 2)
            drive(target, Varied(), [sequence], rounds=rounds)
            return sequence

        lone = begin()
        drive(target, Varied(), [lone])
        first, second = begin(), begin()
        heir, late = fork(first, 1), fork(second, 1)
        first.close()
        drive(target, Varied(), [heir])
        drive(target, Varied(), [second])
        self._same([second], [lone], "a sequence with a copy")
        second.release()
        drive(target, Varied(), [late])
        self._same([late], [heir], "a copy")

    def test_close(self, make_drafter: MakeDrafter, target: Model) -> None:
        """A state closed in the middle of its text harms no other."""
        drafter, requests = Watched(make_drafter()), self._requests(1.0, 4, tenants=True)
        sequences = self._open(target, drafter, requests, Match())
        drive(target, Varied(), sequences, rounds=2)
        sequences[0].close()
        drive(target, Varied(), sequences[1:])
        alone = self._run(target, Watched(make_drafter()), requests, Match(), Varied())
        self._same(sequences[1:], alone[1:], "a sequence beside one that was closed")
        for sequence in sequences:
            sequence.close()
        assert drafter.open_states == 0

    # --- prompts --------------------------------------------------------------------------------------------------

    def test_chunks_of_the_prompt(self, make_drafter: MakeDrafter, target: Model) -> None:
        """In however many chunks the prompt was scored, the drafts after it are the same."""
        found: list[Seq] = []
        for size in (512, 1, 2, 3):
            request = self.request(self.prompts[1], seed=5)
            sequence = self._open(target, Watched(make_drafter()), [request], Match())[0]
            feed(target, Varied(), sequence, size)
            assert not sequence.state.proposals, "a chunk of the prompt was drafted for"
            drive(target, Varied(), [sequence])
            found.append(sequence)
        for sequence in found[1:]:
            self._same([sequence], found[:1], "a chunked prompt")

    @pytest.mark.parametrize("draw", DRAWS)
    @pytest.mark.parametrize("missing", [1, 2, 4])
    def test_a_prompt_begun_elsewhere(self, make_drafter: MakeDrafter, target: Model, draw: Draw, missing: int) -> None:
        """A cache that already holds the beginning, as in a chat: the drafter is never told of those positions."""
        request = self.request(self.prompts[1], seed=6)
        cache = _held(target, request.prompt[:-missing])
        sequence = open_sequence(
            target, Watched(make_drafter()), VERIFIERS[draw](), request, until(self.max_tokens), cache=cache
        )
        drive(target, Varied(), [sequence])
        if draw != "sampled":
            assert sequence.output == list(self._plain(target, request, until(self.max_tokens)))

    # --- what is said ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_the_text_is_that_of_plain_decoding(
        self, make_drafter: MakeDrafter, target: Model, temperature: float
    ) -> None:
        """For many seeds, several sequences a pass; it counts only if drafts were accepted and rejected."""
        steps = []
        for draw in FREE_OF_CHANCE:
            for seed in SEEDS:
                requests = self._requests(temperature, seed)
                for sequence in self._run(target, make_drafter(), requests, VERIFIERS[draw](), Varied(), chunk=4):
                    assert sequence.output == list(self._plain(target, sequence.request, until(self.max_tokens)))
                    steps += sequence.steps
        totals = stats(steps)
        if self.drafts:
            assert 0 < totals.accepted < totals.drafted, f"{totals.accepted} of {totals.drafted} drafts accepted"

    @pytest.mark.parametrize("ends", [(), (1,)])
    @pytest.mark.parametrize("draw", DRAWS)
    def test_the_joint_law_is_the_targets(
        self, make_drafter: MakeDrafter, target: Model, draw: Draw, ends: tuple[int, ...]
    ) -> None:
        """Every branch of chance is followed: no text is likelier or less likely than without drafts."""
        request, stop = self.request(self.prompts[0]), until(self.exact_tokens, ends)
        policy = Constant(self.exact_rows)

        def run(chooser: Chooser) -> tuple[int, ...]:
            return said(target, make_drafter(), VERIFIERS[draw](), policy, request, stop, BranchingStream(chooser))

        off = distance(outcomes(run), plain(target, request, stop))
        assert off <= 1e-12, f"the law of the text is off by {off:g} in total variation"

    @pytest.mark.parametrize("draw", FREE_OF_CHANCE)
    def test_short_texts(self, make_drafter: MakeDrafter, target: Model, draw: Draw) -> None:
        """Caps, end tokens inside a block, and a context that is nearly full."""
        context = target.about.context
        stops = [until(cap, ids) for cap in (1, 2, 3, self.max_tokens) for ids in ((), (0,), (1, 2))]
        for stop in stops:
            for request in self._requests(1.0, 7):
                self._compare(make_drafter(), target, request, stop, VERIFIERS[draw]())
        for room in (1, 2, 5):
            prompt = (self.prompts[0] * context)[: context - room]
            self._compare(make_drafter(), target, self.request(prompt, seed=8), until(room), VERIFIERS[draw]())

    # --- helpers --------------------------------------------------------------------------------------------------

    def _requests(self, temperature: float, seed: int, *, tenants: bool = False) -> list[Request]:
        return [
            self.request(prompt, temperature=temperature, seed=seed, tenant=f"tenant {index}" if tenants else "")
            for index, prompt in enumerate(self.prompts)
        ]

    def _open(self, target: Model, drafter: AnyDrafter, requests: Sequence[Request], verifier: Verifier) -> list[Seq]:
        stop = until(self.max_tokens)
        return [open_sequence(target, drafter, verifier, request, stop) for request in requests]

    def _run(
        self,
        target: Model,
        drafter: AnyDrafter,
        requests: Sequence[Request],
        verifier: Verifier,
        policy: AnyPolicy,
        *,
        chunk: int = 512,
        rounds: int | None = None,
    ) -> list[Seq]:
        sequences = self._open(target, drafter, requests, verifier)
        drive(target, policy, sequences, chunk=chunk, rounds=rounds)
        return sequences

    def _plain(self, target: Model, request: Request, stop: StopState) -> tuple[int, ...]:
        return plain_text(target, request, stop, KeyedStream(request.seed, request.choice))

    def _compare(
        self, drafter: AnyDrafter, target: Model, request: Request, stop: StopState, verifier: Verifier
    ) -> None:
        sequence = open_sequence(target, drafter, verifier, request, stop)
        drive(target, Varied(), [sequence])
        assert sequence.output == list(self._plain(target, request, stop)), (
            f"prompt {request.prompt}, stop {stop.rules}"
        )

    def _same(self, first: Sequence[Seq], second: Sequence[Seq], what: str) -> None:
        """Watched sequences said and drafted the same."""
        for one, two in zip(first, second, strict=True):
            assert one.output == two.output, f"{what}: said {one.output}, then {two.output}"
            assert_same_proposals(one.state.proposals, two.state.proposals, what)


def _ask(sequence: Seq, state: Any, budget: Budget, draw: Draw, stream: Stream, target: Model) -> Ask[Any]:
    at = stream.at(len(sequence.output))
    return Ask(state, sequence.committed, sequence.rules, budget, draw, at, target.about.vocab_size)


def _held(target: Model, text: tuple[int, ...]) -> Cache:
    """A cache that holds `text`."""
    cache = target.open()
    target.score([Query(cache, text, tuple(range(-1, len(text) - 1)))])
    cache.keep(range(len(text)))
    return cache
