"""From the engine's int8 pass to a head that learns what it left, and back into the engine.

The target is a tiny Q8_0 file that the native engine runs in int8, answers and states alike. Heads of every kind
learn from the states that were kept, and are judged on prompts that they have not seen: what training says of them is
held against what the engine does, law by law and round by round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft import SamplingParams  # noqa: E402
from foredraft.audit.parity import DIVERGENCE, FLOATS, LENGTH, LIKELY, parity  # noqa: E402
from foredraft.bench.prompts import Prompt  # noqa: E402
from foredraft.core.heads import Feed, Head  # noqa: E402
from foredraft.core.protocols import Ask, Query  # noqa: E402
from foredraft.core.sampling import log_softmax  # noqa: E402
from foredraft.core.tree import DraftTree  # noqa: E402
from foredraft.draft import family  # noqa: E402
from foredraft.draft.family import Provided  # noqa: E402
from foredraft.draft.head_drafter import HeadDrafter  # noqa: E402
from foredraft.draft.head_state import HeadState  # noqa: E402
from foredraft.engine.heads import load_head, native_head  # noqa: E402
from foredraft.engine.llm import LLM, load  # noqa: E402
from foredraft.heads.files import read_head  # noqa: E402
from foredraft.models.templates import chat_ids  # noqa: E402
from foredraft.train import block, corpus, data, eagle, eagle3, hydra, medusa, mtp, mtp_sequential, recipe  # noqa: E402
from foredraft.train.answers import EngineAnswers  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.recipe import HeadRecipe  # noqa: E402
from foredraft.train.taps import Keeping, Taps, folder_of  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from foredraft.train.trainer import Settings as Loop  # noqa: E402
from foredraft.train.trainer import Trainer  # noqa: E402
from gguf_cases import write_gguf  # noqa: E402
from random_heads import taps_of  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

Laws = NDArray[np.float64]
Accepted = tuple[int, int, NDArray[Any]]  # tokens, passes and accepted drafts by position, as recipes count them
MOST = 40  # tokens of a response
TRAINED = 160  # texts
# Of a log probability: two drafts that are nearer than this may change places, since kept states are rounded to
# float16, which alone moves what these heads say by up to 7e-4.
NEAR = 2e-3
ALIKE = 0.8  # texts of which all rounds are the same, at least
SIZES: dict[str, Any] = {"block": 4, "vocabulary": 300, "hidden": 128}
Make = Callable[[TorchTarget, list[Text]], HeadRecipe]
METHODS: dict[str, Make] = {
    "block": lambda target, texts: block.BlockRecipe(target, texts, block.Settings(rank=16, **SIZES)),
    "eagle": lambda target, texts: eagle.EagleRecipe(target, texts, eagle.Settings(noise=0.0, **SIZES)),
    "medusa": lambda target, texts: medusa.MedusaRecipe(target, texts, medusa.Settings(block=4, vocabulary=300)),
    "hydra": lambda target, texts: hydra.HydraRecipe(target, texts, hydra.Settings(block=4, vocabulary=300)),
    "hydra++": lambda target, texts: hydra.HydraRecipe(target, texts, hydra.Settings(**SIZES, **hydra.PLUS)),
    "mtp": lambda target, texts: mtp.MTPRecipe(target, texts, mtp.Settings(**SIZES)),
    "eagle3": lambda target, texts: eagle3.Eagle3Recipe(target, texts, eagle3.Settings(**SIZES)),
    "mtp sequential": lambda target, texts: mtp_sequential.SequentialRecipe(
        target, texts, mtp_sequential.Settings(**SIZES)
    ),
}


@dataclass
class World:
    llm: LLM
    target: TorchTarget
    kept: Taps
    texts: list[Text]

    @property
    def held_out(self) -> list[Text]:
        """Those with something to draft: the first token comes without."""
        return [text for text in self.texts if text.held_out and len(text.response) > 1]


@dataclass
class Told:
    """Of every held-out text: laws by the engine in float32 and in int8, and tokens of the rounds of its chains."""

    made: HeadRecipe
    path: Path
    floats: list[Laws]
    int8: list[Laws]
    rounds: list[list[int]]
    rounds_int8: list[list[int]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """As `train data --taps` and `train METHOD --kept` go about it."""
    folder = tmp_path_factory.mktemp("world")
    model = str(write_gguf(folder / "tiny.gguf", "smollm", "Q8_0").path)
    prompts, out = folder / "prompts.jsonl", folder / "texts.jsonl"
    with closing(EngineAnswers(model, engine="native", threads=1)) as answers:
        prompts.write_text("".join(json.dumps(one) + "\n" for one in prompts_of(answers)))
        data.make(answers, data.Plan(prompts, out, most=MOST), lambda _: None)
        texts = corpus.read(out)
        Keeping(answers.model, folder_of(out)).keep(texts, lambda _: None)
    kept = Taps(folder_of(out))
    assert kept.about.engine["activations"] == "int8"
    with load(model, "none", engine="native", threads=1) as llm:
        yield World(llm, TorchTarget(model, "cpu", "float32", kept), kept, texts)


def prompts_of(answers: EngineAnswers) -> list[dict[str, Any]]:
    """Of a thousand those that are held out, and some others."""
    found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for number in range(1000):
        said = f"say {number} " + "x" * (number % 7)
        ids = chat_ids(answers.tokenizer, [{"role": "user", "content": said}])
        held_out = Text("", "", tuple(ids), ()).held_out
        found[held_out].append({"id": number, "task": "t", "turns": [said]})
    return found[True] + found[False][:TRAINED]


@pytest.fixture(scope="module", params=METHODS)
def told(request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A head that has learnt, and what the engine makes of its file."""
    made, out = METHODS[request.param](world.target, world.texts), tmp_path_factory.mktemp(request.param)
    loop = Loop(steps=70, tokens=1536, rate=5e-3, warmup=10, evaluate=1e9)
    assert Trainer(made, world.texts, out, loop, lambda _: None).run() > 1.3
    made.head.eval()
    path, model = out / "head.safetensors", world.llm.loaded.model
    floats, int8 = float_head(world, path), load_head(str(path), model, method=made.method)
    return Told(
        made,
        path,
        [laws_in_the_engine(made, floats, text, kept_of(world, made, text)) for text in world.held_out],
        [laws_in_the_engine(made, int8, text, read_of(world, made, text)) for text in world.held_out],
        [rounds_in_the_engine(world, made, floats, text) for text in world.held_out],
        [rounds_in_the_engine(world, made, int8, text) for text in world.held_out],
    )


def float_head(world: World, path: Path) -> Head:
    return native_head(world.llm.loaded.model, *read_head(path), threads=1, quantize=None, activations="f32")


def kept_of(world: World, made: HeadRecipe, text: Text) -> NDArray[np.float32]:
    """The states that training reads."""
    states = world.kept.of(text, made.config.taps).astype(np.float32)
    return states.reshape(len(states), -1)


def read_of(world: World, made: HeadRecipe, text: Text) -> NDArray[Any]:
    """Those that a drafter reads, before any rounding."""
    return taps_of(world.llm.loaded.model, (*text.prompt, *text.response), made.config.taps)


def laws_in_training(made: HeadRecipe, text: Text) -> Laws:
    """[laws, places], log probabilities: of every root from the response's first token on those of the drafts behind
    it that the text has place for. Each is told the text's own tokens between."""
    reading, steps = made.read([text]), list[Laws]()
    with torch.no_grad():
        for step, rows in zip(range(min(made.config.block, reading.steps)), made.head(reading.batch)):
            drafted = reading.drafted(step)
            logits = made.head.logits(rows[0, : drafted.shape[1]], step, drafted[0])
            steps.append(logits.double().log_softmax(-1).numpy())
    roots = range(1, len(text.response))  # by the columns from the prompt's last token on
    return np.stack([own[root] for root in roots for own in steps if root < len(own)])


def laws_in_the_engine(made: HeadRecipe, head: Head, text: Text, taps: NDArray[Any]) -> Laws:
    """The same, as its drafter gets them, each root fed behind those before."""
    method, whole, found = family(made.method), (*text.prompt, *text.response), list[Laws]()
    drafter: Any = method.build(method.options(), Provided(head=head))
    with closing(head.open()) as cache:
        for root in range(len(text.prompt), len(whole) - 1):
            first, levels = cache.length + 1, min(made.config.block, len(whole) - 1 - root)
            feed = Feed(cache, whole[first : root + 1], taps[first - 1 : root], levels)
            logits = drafter.laws(feed, whole[root + 1 :])
            drafted = made.place[list(whole[root + 1 : root + levels])].clamp(min=0).tolist()
            if drafted and hasattr(head, "bias"):
                logits = np.concatenate([logits[:1], logits[1:] + head.bias(drafted)])
            found += [log_softmax(row.astype(np.float64)) for row in logits]
    return np.stack(found)


class Chain(HeadDrafter[Any]):
    """What the head holds likeliest, token after token, and nothing beside it."""

    def laws(self, feed: Feed, follows: Sequence[int]) -> Any:
        """Nobody asks."""

    def grow(self, asks: Sequence[Ask[HeadState]], feeds: Sequence[Feed]) -> list[DraftTree]:
        return [DraftTree.of(tokens, range(-1, len(tokens) - 1), self.name) for tokens in map(self._chain, feeds)]

    def _chain(self, feed: Feed) -> list[int]:
        whole, found, place = self.head.score([feed])[0], list[int](), 0
        for depth in range(feed.block):
            if not depth:
                logits = whole[0]
            elif hasattr(self.head, "bias"):
                logits = whole[depth] + self.head.bias([place])[0]
            else:
                logits = self.head.level([Query(feed.cache, (found[-1],), (depth - 2,))])[0][0]
            place = int(logits.argmax())
            found.append(int(self.head.says[place]))
        return found


def rounds_in_the_engine(world: World, made: HeadRecipe, head: Head, text: Text) -> list[int]:
    """Tokens of every round but the first, which reads the prompt: nothing can be drafted before its states are there.
    Training leaves that round out too."""
    chain = Chain(head, name=made.method)
    engine = LLM(world.llm.loaded, chain, num_speculative_tokens=made.config.block)  # not closed: the target is shared
    output = engine.generate(text.prompt, SamplingParams(temperature=0, max_tokens=MOST))
    assert output.token_ids == text.response
    assert output.stats.faults == ()
    first, *rest = output.outputs[0].steps
    assert (len(first.tokens), first.drafted) == (1, 0)
    return [len(step.tokens) for step in rest]


def same_rounds(counted: Accepted, rounds: list[int]) -> bool:
    """Exactly. Only of the last token of a text training may say that a draft got it right, where the engine, which
    always draws the last token itself, has drafted one less or has stopped."""
    tokens, passes, by_position = counted
    depth = np.arange(len(by_position))
    beyond = by_position - sum((depth < went - 1).astype(int) for went in rounds)
    last = (beyond == 1) & (depth == rounds[-1] - 1)
    return (tokens, passes) == (sum(rounds), len(rounds)) and bool(((beyond == 0) | last).all())


def length(rounds: Sequence[Sequence[int]]) -> float:
    return sum(map(sum, rounds)) / sum(map(len, rounds))


def counted_length(counted: Sequence[Accepted]) -> float:
    return sum(one[0] for one in counted) / sum(one[1] for one in counted)


def largest(trained: Sequence[Laws], engine: Sequence[Laws]) -> float:
    """Difference of a log probability, of tokens that are not too unlikely to matter."""
    return max(float(np.abs(ours - theirs)[ours > LIKELY].max()) for ours, theirs in zip(trained, engine, strict=True))


def divergence(trained: Sequence[Laws], engine: Sequence[Laws]) -> float:
    """Mean KL of the engine's laws."""
    ours, theirs = np.concatenate(trained), np.concatenate(engine)
    return float((np.exp(ours) * (ours - theirs)).sum(1).mean())


def test_the_laws_are_those_of_training(world: World, told: Told) -> None:
    """In float32 on the very states that were kept: there is nothing but the order of sums between them. In int8, from
    the file of floats that training wrote, on the states as a drafter reads them."""
    trained = [laws_in_training(told.made, text) for text in world.held_out]
    assert sum(map(len, trained)) > 1000
    assert largest(trained, told.floats) < FLOATS
    assert divergence(trained, told.int8) < DIVERGENCE


def test_chains_go_as_far_as_training_says(world: World, told: Told) -> None:
    """Round by round, but where two drafts are as good as equal; the mean of all in int8 too."""
    counted = [told.made.accepted([text]) for text in world.held_out]
    same = 0
    for text, own, rounds in zip(world.held_out, counted, told.rounds, strict=True):
        best = np.sort(laws_in_training(told.made, text), axis=1)[:, -2:]
        same += (agreed := same_rounds(own, rounds))
        assert agreed or np.diff(best).min() < NEAR
    assert same >= ALIKE * len(counted)
    assert counted_length(counted) > 1.3
    for rounds in (told.rounds, told.rounds_int8):
        assert length(rounds) == pytest.approx(counted_length(counted), rel=LENGTH)
    every = told.made.accepted(world.held_out)  # side by side they are what they are alone
    assert every[:2] == (sum(own[0] for own in counted), sum(own[1] for own in counted))


def test_the_audit_finds_the_same(world: World, told: Told) -> None:
    """Its definition is the head in numpy, its drafts are trees."""
    prompts = [Prompt(text.id, "t", (world.llm.tokenizer.decode(text.prompt),)) for text in world.held_out[:6]]
    found = parity(world.llm, told.path, prompts, MOST, raw=True)
    assert found.passed, found
    assert found.defined > 1.3


def test_states_of_the_place_before_are_noticed(world: World, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The known-bad twin: training reads every state one place too late. The mean length alone need not tell: a head
    that goes by the last token more than by states drafts as far, but elsewhere."""
    right = world.kept.of
    monkeypatch.setattr(world.kept, "of", lambda text, layers: np.roll(right(text, layers), 1, axis=0))
    trained = [laws_in_training(told.made, text) for text in world.held_out]
    counted = [told.made.accepted([text]) for text in world.held_out]
    assert largest(trained, told.floats) > FLOATS
    assert divergence(trained, told.int8) > DIVERGENCE
    assert sum(map(same_rounds, counted, told.rounds)) < ALIKE * len(counted)


Chains = Callable[[NDArray[Any], NDArray[Any], int], Accepted]


def no_bonus(right: Chains) -> Chains:
    def counted(agree: NDArray[Any], real: NDArray[Any], start: int) -> Accepted:
        tokens, passes, by_position = right(agree, real, start)
        return tokens - passes, passes, by_position

    return counted


WRONG: dict[str, Callable[[Chains], Chains]] = {
    "the next column": lambda right: lambda agree, real, start: right(np.roll(agree, 1, axis=2), real, start),
    "the next step": lambda right: lambda agree, real, start: right(np.roll(agree, 1, axis=0), real, start),
    "the first token drafted": lambda right: lambda agree, real, start: right(agree, real, start - 1),
    "no bonus": no_bonus,
}


@pytest.mark.parametrize("name", WRONG)
def test_lengths_off_by_one_are_noticed(world: World, told: Told, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """More known-bad twins. A draft of the first token changes the mean by less than its bound, but most texts."""
    monkeypatch.setattr(recipe, "chains", WRONG[name](recipe.chains))
    counted = [told.made.accepted([text]) for text in world.held_out]
    assert sum(map(same_rounds, counted, told.rounds)) < ALIKE * len(counted)
    if name == "no bonus":
        assert counted_length(counted) != pytest.approx(length(told.rounds), rel=LENGTH)
