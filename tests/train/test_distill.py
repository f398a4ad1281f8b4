"""Distillation end to end on a tiny target: students of every kind, what they learn, the files they become."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cut_short import learn_until  # noqa: E402
from foredraft import SamplingParams  # noqa: E402
from foredraft.core.errors import UsageError  # noqa: E402
from foredraft.core.protocols import Query  # noqa: E402
from foredraft.engine.llm import load  # noqa: E402
from foredraft.models import hf_load  # noqa: E402
from foredraft.models.sources import resolve  # noqa: E402
from foredraft.models.tokenizer import Tokenizer, same_vocabulary  # noqa: E402
from foredraft.train import distill, student, student_file  # noqa: E402
from foredraft.train.compared import Compared, likeliest, summed_loss  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.cross_entropy import AT_ONCE  # noqa: E402
from foredraft.train.distill import DistillRecipe, Settings, distilled  # noqa: E402
from foredraft.train.divergences import divergence, overlap  # noqa: E402
from foredraft.train.student import Shape  # noqa: E402
from foredraft.train.student_pass import said_by  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from foredraft.train.trainer import Settings as Loop  # noqa: E402
from foredraft.train.trainer import Trainer  # noqa: E402
from tiny import write_model  # noqa: E402


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> TorchTarget:
    return TorchTarget(str(write_model(tmp_path_factory.mktemp("target"), layers=4)), "cpu", "float32")


@pytest.fixture(scope="module")
def texts(target: TorchTarget) -> list[Text]:
    prompts = [tuple(target.tokenizer.encode(f"say {number}")) for number in range(160)]
    said = target.answer(prompts, 12, 0.0, 0)
    return [Text(str(n), "t", prompt, own) for n, (prompt, own) in enumerate(zip(prompts, said)) if len(own) > 2]


def recipe(target: TorchTarget, **changes: Any) -> DistillRecipe:
    made = student.from_nothing(target, Shape(layers=2, width=32), seed=1)
    return DistillRecipe(target, made, dataclasses.replace(Settings("2x32"), **changes))


def loss_of(made: DistillRecipe, texts: list[Text]) -> float:
    return sum(float(part.detach()) for part in made.losses(texts))


@pytest.mark.parametrize("at_once", [3000, 1 << 20])
@pytest.mark.parametrize("name", ["forward-kl", "total-variation", "hybrid"])
def test_the_loss_is_that_of_whole_laws_one_text_at_a_time(
    target: TorchTarget, texts: list[Text], name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AT_ONCE, "cpu", at_once)
    made, batch = recipe(target, divergence=name, hard=0.25), texts[:6]
    total, count = 0.0, 0
    with torch.no_grad():
        for text in batch:
            ids = torch.tensor([[*text.prompt, *text.response]])
            p = target.model(input_ids=ids).logits[0].float().log_softmax(-1)
            q = made.head(input_ids=ids).logits[0].float().log_softmax(-1)
            rows = slice(len(text.prompt) - 1, ids.shape[1] - 1)
            soft = divergence(name)(p[rows], q[rows]).sum()
            hard = -q[rows].gather(1, p[rows].argmax(-1, keepdim=True)).sum()
            total, count = total + float(0.75 * soft + 0.25 * hard), count + len(text.response)
    assert loss_of(made, batch) == pytest.approx(total / count, rel=1e-4)
    overlapped, positions = made.overlap(batch)
    assert positions == count
    assert 0 < overlapped < count


def test_the_length_is_that_of_a_loop(target: TorchTarget, texts: list[Text]) -> None:
    made = recipe(target, block=3)
    torch.nn.init.normal_(made.head.model.embed_tokens.weight, std=0.5)
    twin = DistillRecipe(target, student.cut_out(target, (0, 1, 2)), Settings("cut", block=3))
    for one in (made, twin):
        tokens = passes = 0
        for text in texts[:12]:
            whole, at = [*text.prompt, *text.response], len(text.prompt) + 1
            while at < len(whole):
                run = 0
                while run < 3 and at + run < len(whole):
                    ids = torch.tensor([whole[: at + run]])
                    if int(one.head(input_ids=ids).logits[0, -1].argmax()) != whole[at + run]:
                        break
                    run += 1
                more = min(run + 1, len(whole) - at)
                tokens, passes, at = tokens + more, passes + 1, at + more
        found = [one.accepted(list(texts[first : first + 4])) for first in range(0, 12, 4)]
        assert (sum(one[0] for one in found), sum(one[1] for one in found)) == (tokens, passes)


def test_a_student_learns_and_drafts(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    made = DistillRecipe(target, student.cut_out(target, (0, 1, 3)), Settings("0,1,3"))
    seen = [text for text in texts if not text.held_out][:40]
    before = made.overlap(seen)
    Trainer(made, texts, tmp_path, Loop(steps=60, tokens=1024, rate=5e-3, warmup=5), lambda _: None).run()
    after = made.overlap(seen)
    assert after[0] / after[1] > before[0] / before[1] + 0.1
    assert (tmp_path / "model" / "model.safetensors").is_file()
    ask = SamplingParams(temperature=0, max_tokens=12)
    folder = str(target.source.path)
    with load(folder, f"model:{tmp_path / 'model'}", engine="hf") as llm:
        drafted = [llm.generate(text.prompt, ask) for text in seen[:8]]
    with load(folder, "none", engine="hf") as llm:
        plain = [llm.generate(text.prompt, ask) for text in seen[:8]]
    assert [one.token_ids for one in drafted] == [one.token_ids for one in plain]
    assert sum(one.stats.accepted for one in drafted) > 0


def test_batches_that_the_student_writes_itself(target: TorchTarget, texts: list[Text]) -> None:
    """Its own words after the same prompts, the same ones when a run is repeated; nothing flows through the choice."""
    made = recipe(target, on_policy=1.0)
    own = said_by(made.head, target, texts[:5], 3)
    assert [text.prompt for text in own] == [text.prompt for text in texts[:5]]
    assert own == said_by(made.head, target, texts[:5], 3) != said_by(made.head, target, texts[:5], 4)
    assert [text.response for text in own] != [text.response for text in texts[:5]]
    assert made.head.training
    assert loss_of(made, texts[:5]) == loss_of(made, texts[:5]) != loss_of(recipe(target), texts[:5])


def test_what_is_drawn_follows_from_the_batch_alone(
    target: TorchTarget, texts: list[Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So divergences are compared on the same coins and noise, wherever the student's file lies."""
    drawn: list[tuple[tuple[str, ...], int]] = []

    def noted(student: Any, target: TorchTarget, texts: Sequence[Text], seed: int) -> list[Text]:
        drawn.append((tuple(text.id for text in texts), seed))
        return list(texts)

    monkeypatch.setattr(distill, "said_by", noted)
    batches, found = [texts[at : at + 3] for at in range(0, 36, 3)], []
    for changes in ({"divergence": "forward-kl"}, {"divergence": "reverse-kl", "student": "elsewhere/model.gguf"}):
        made = recipe(target, on_policy=0.5, **changes)
        drawn.clear()
        for batch in batches:
            loss_of(made, batch)
        found.append(list(drawn))
    assert found[0] == found[1]
    assert 0 < len(found[0]) < len(batches)


def test_a_draw_that_failed_leaves_a_student_that_learns(
    target: TorchTarget, texts: list[Text], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(target)
    monkeypatch.setattr(made.head, "generate", broken)
    with pytest.raises(MemoryError):
        said_by(made.head, target, texts[:2], 3)
    assert made.head.training


def broken(*_: object, **__: object) -> None:
    raise MemoryError


def test_a_run_cut_short_goes_on_to_the_same_losses(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    def losses(out: Path, stops: list[int]) -> list[float]:
        found: list[float] = []
        for stop in stops:
            run = Trainer(recipe(target, on_policy=0.5), texts, out, Loop(steps=8, tokens=512), lambda _: None)
            found += learn_until(stop, run, out, Trainer._save)
        return found

    whole, pieces = losses(tmp_path / "whole", [8]), losses(tmp_path / "pieces", [3, 8])
    np.testing.assert_allclose(pieces, whole, rtol=1e-6)
    assert len(whole) == 8


@pytest.mark.parametrize("layers", [(), (0, 4), (1, 0), (0, 0), (-1, 2)])
def test_layers_that_cannot_be_kept(target: TorchTarget, layers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="layers to keep"):
        student.cut_out(target, layers)


def test_all_layers_kept_are_the_target(target: TorchTarget, texts: list[Text]) -> None:
    made = DistillRecipe(target, student.cut_out(target, (0, 1, 2, 3)), Settings("all"))
    assert loss_of(made, texts[:4]) == pytest.approx(0, abs=1e-6)
    overlapped, positions = made.overlap(texts[:4])
    assert overlapped == pytest.approx(positions, rel=1e-5)


def test_a_sample_that_holds_every_token_compares_whole_laws(target: TorchTarget, texts: list[Text]) -> None:
    whole, batch = recipe(target, hard=0.25), texts[:6]
    made = student.from_nothing(target, Shape(layers=2, width=32), seed=1)
    common = range(20, len(whole.says))
    every = DistillRecipe(target, made, Settings("2x32", hard=0.25, vocabulary=len(common)), common)
    assert loss_of(every, batch) == pytest.approx(loss_of(whole, batch), rel=1e-5)
    for one in (whole, every):
        for part in one.losses(batch):
            part.backward()
    gradients = [[parameter.grad for parameter in one.head.parameters()] for one in (whole, every)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["forward-kl", "reverse-kl", "total-variation", "jensen-shannon"])
def test_a_sample_of_tokens_stands_for_all(name: str) -> None:
    """Of laws much of which lies on rare tokens. The known-bad twin lets each token stand for itself alone."""
    torch.manual_seed(0)
    size, common = 4000, torch.arange(500)
    spread = torch.where(torch.arange(size) < 500, 0.0, -0.5)
    p, q = torch.randn(40, size) + spread, torch.randn(40, size) + spread
    p = 0.5 * p + 0.5 * q
    whole = float(divergence(name)(p.log_softmax(-1), q.log_softmax(-1)).mean())

    def sampled(seed: int) -> float:
        some = Compared.some(common, size, 100, random.Random(seed))
        assert len(some.tokens) == 600
        laws = ((one[:, some.tokens] + some.stands_for).log_softmax(-1) for one in (p, q))
        return float(divergence(name)(*laws).mean())

    near = [sampled(seed) for seed in range(30)]
    assert np.mean(near) == pytest.approx(whole, rel=0.03)
    assert np.std(near) < 0.05 * whole
    law = p.log_softmax(-1)[:, :500].exp().sum(-1).mean()
    some = Compared.some(common, size, 100, random.Random(1))
    held = [(p[:, some.tokens] + more).log_softmax(-1).exp()[:, some.stands_for == 0].sum(-1).mean()
            for more in (some.stands_for, 0)]  # fmt: skip
    assert float(held[0]) == pytest.approx(float(law), rel=0.02)
    assert float(held[1]) > 2 * float(law)


def test_the_batchs_own_tokens_are_compared(target: TorchTarget, texts: list[Text]) -> None:
    """A law that has nearly all on one rare token is missed by a sample without it, which is the known-bad twin."""
    made, batch = distilled(target, texts, Settings("2x32", vocabulary=3)), texts[:6]
    rows = target.rows(batch)
    compared = made._compared(rows, random.Random(0))
    assert compared is not None
    own = {token for text in batch for token in (*text.prompt, *text.response)}
    assert own <= set(compared.tokens[compared.stands_for == 0].tolist())
    rare = 250
    p = torch.zeros(1, len(made.says))
    p[0, rare] = 10.0  # whose share is above 0.98
    held = []
    for certain in (torch.tensor([3, 4, rare]), torch.tensor([3, 4, 5])):
        some = [Compared.some(certain, len(made.says), 5, random.Random(seed)) for seed in range(40)]
        laws = [(p[:, one.tokens] + one.stands_for).softmax(-1)[0] for one in some]
        held.append(np.mean([float(law[one.tokens == rare].sum()) for law, one in zip(laws, some, strict=True)]))
    whole = float(p.softmax(-1)[0, rare])
    assert held[0] == pytest.approx(whole, abs=0.01)
    assert held[1] < whole / 2


def test_the_likeliest_token_is_of_all_there_are(target: TorchTarget) -> None:
    """At temperature 0 what counts is which token is likeliest by itself: not one that stands for many, and where it is
    not compared there is nothing to learn."""
    made = distilled(target, [Text("0", "t", (3, 4), (5, 6, 7))], Settings("2x32", hard=1.0, vocabulary=5))
    compared = made._compared(target.rows([Text("0", "t", (3, 4), (5, 6, 7))]), random.Random(0))
    assert compared is not None
    shift, every = compared.stands_for, set(range(len(made.says)))
    assert sorted(compared.tokens[shift == 0].tolist()) == [3, 4, 5, 6, 7]
    assert float(shift.max()) == pytest.approx(np.log(len(made.says) - 5))
    left_out = min(every - set(compared.tokens.tolist()))
    states = torch.randn(31, 32)
    theirs = target.head[torch.tensor([*(n % 5 + 3 for n in range(30)), left_out])] * 3
    whole = (theirs @ target.head.T).argmax(-1)
    assert int(whole[-1]) == left_out
    law = (theirs @ target.head.T)[:, compared.tokens]
    assert not torch.equal(law.argmax(-1), (law + shift).argmax(-1))  # the bad twin would differ
    with torch.no_grad():
        ours = states @ made.head.lm_head.weight[compared.tokens].T
        likely = likeliest(theirs, target.head, compared)
        found = summed_loss(divergence("forward-kl"), 1.0, compared, likely)(slice(0, 31), law, ours)
        logs = (ours + shift).log_softmax(-1)
    places = [compared.tokens.tolist().index(int(token)) for token in whole[:-1]]
    assert float(found) == pytest.approx(-sum(float(logs[n, place]) for n, place in enumerate(places)), rel=1e-4)


def test_a_projection_keeps_what_most_embeddings_share() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(24, 24)).Q[:, :6]
    table = torch.randn(300, 6) @ basis.T  # of rank 6: nothing is lost
    narrow = student.projected(table, 6)
    scale = narrow.norm() / table.norm()
    torch.testing.assert_close(narrow @ narrow.T, scale**2 * table @ table.T, rtol=1e-3, atol=1e-4)
    assert float(narrow.std()) == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("shape", [{"layers": 0}, {"width": 40}, {"hidden": 33}, {"heads": 5}])
def test_shapes_that_cannot_be(shape: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Shape(**{"layers": 2, "width": 64, **shape})


@pytest.mark.parametrize("changes", [{"on_policy": 1.5}, {"hard": -0.1}, {"block": 0}, {"vocabulary": -1}])
def test_settings_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(Settings("2x32"), **changes)


def test_another_vocabulary_is_refused(target: TorchTarget, tmp_path: Path) -> None:
    other = write_model(tmp_path, extra="<|more|>")
    with pytest.raises(UsageError, match="another vocabulary"):
        student.given(target, str(other))


@pytest.fixture(scope="module")
def smollm2() -> TorchTarget:
    return TorchTarget("smollm2", "cpu", "float32")


@pytest.mark.parametrize("written", ["1x64", "0,29"])
def test_a_student_of_a_gguf_target_is_a_gguf_file(smollm2: TorchTarget, written: str, tmp_path: Path) -> None:
    """Its laws through both engines are the module's, up to the rounding of Q8_0."""
    target, made = smollm2, student.make_student(smollm2, written)
    if written == "1x64":  # as it begins its laws are flat, and flat laws are alike whatever is mixed up
        torch.manual_seed(1)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    path = student_file.write_student(made.eval(), target.source, tmp_path, {"distilled": "test"})
    source = resolve(str(path))
    assert same_vocabulary(Tokenizer.from_source(source), target.tokenizer) is None
    again = hf_load.load(source.path, "gguf", device="cpu", dtype="float32", threads=None)
    ids = torch.tensor([target.tokenizer.encode("The capital of France is the city of")])
    with torch.no_grad():
        ours, theirs = made(input_ids=ids).logits[0], again(input_ids=ids).logits[0]
    p, q = ours.log_softmax(-1), theirs.log_softmax(-1)
    assert float(overlap(p, q).min()) > 0.9
    with load(str(path), "none", engine="native", threads=1) as llm:
        cache = llm.loaded.model.open()
        rows = tuple(range(ids.shape[1]))
        [scores] = llm.loaded.model.score([Query(cache, tuple(ids[0].tolist()), tuple(r - 1 for r in rows), rows)])
        native = torch.from_numpy(np.stack([scores.logits(row).copy() for row in rows])).log_softmax(-1)
        assert float(overlap(p, native).min()) > 0.9
        cache.close()
