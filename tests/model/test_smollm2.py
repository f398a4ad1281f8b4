"""The default model: tokens with and without speculation are equal, greedy and sampled.

This backend computes several rows by other kernels than one, in float32, so two candidates closer than that noise may
change places. A difference is excused only when the margin between the two best candidates at that position is below
the noise measured on that very prefix; the tests print how many were.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("torch")

from foredraft.core.law import of_weights
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Model, Query
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.engine.llm import LLM, load
from foredraft.engine.loop import generate

pytestmark = pytest.mark.model

TOKENS = 40
PROMPTS = (
    "The square root of 7 is 2.6457513110645906. Repeat that sentence three times, word for word.",
    "List three fruits, then list the same three fruits again in reverse order.",
    "Why is the sky blue? Answer in one sentence.",
)


@pytest.fixture(scope="module")
def plain() -> Iterator[LLM]:
    with load("smollm2", "none") as llm:
        yield llm


def with_drafter(plain: LLM, name: str) -> LLM:
    """The same model with one of the drafters of these tests."""
    # With lengths of their own: left to the policy, a slow moment of the machine may mean that nothing is drafted.
    named = {
        "lookup": "lookup:k=4",
        "tree": "lookup:n=2,branches=3,k=4",
        "suffix": "suffix:k=8",
        "early layers": "early_exit:exit=24,tree=2x1,k=4",
    }
    return LLM(plain.loaded, named[name])


def measured_noise(model: Model, path: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """The last token's logits from one row behind a cache, and how far other ways of scoring it land from them."""
    found = []
    for split in (1, 5, min(9, len(path) - 1)):
        cache = model.open()
        head, tail = path[:-split], path[-split:]
        model.score([Query(cache, head, tuple(range(-1, len(head) - 1)))])
        cache.keep(range(len(head)))
        scores = model.score([Query(cache, tail, tuple(range(-1, split - 1)), (split - 1,))])[0]
        found.append(np.array(scores.logits(split - 1), dtype=np.float64))
        cache.close()
    return found[0], max(float(np.abs(other - found[0]).max()) for other in found[1:])


def excused(llm: LLM, prompt: tuple[int, ...], said: tuple[int, ...], params: SamplingParams) -> bool:
    """True when the two best candidates after prompt + said are closer than the noise on that prefix."""
    logits, noise = measured_noise(llm.loaded.model, (*prompt, *said))
    if params.temperature == 0:
        ranked = np.sort(logits)[::-1]
        return bool(ranked[0] - ranked[1] <= 2 * noise)
    scaled = logits / params.temperature
    law = of_weights(np.arange(len(scaled)), np.exp(scaled - scaled.max()), len(scaled))
    stream = KeyedStream(params.seed or 0).at(len(said))
    first, second = stream.rank(law, 2, Purpose.TARGET)
    noise_of = stream._uniforms(len(scaled), Purpose.TARGET, 0)
    perturbed = scaled - np.log(-np.log(noise_of))
    return bool(perturbed[first] - perturbed[second] <= 2 * noise / params.temperature)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("drafter", ["lookup", "tree", "early layers", "suffix"])
def test_speculation_says_what_plain_decoding_says(
    plain: LLM, drafter: str, temperature: float, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = with_drafter(plain, drafter)
    ties = accepted = rejected = 0
    for number, text in enumerate(PROMPTS):
        params = SamplingParams(max_tokens=TOKENS, temperature=temperature, seed=number + 7)
        prompt = plain.encode_chat([{"role": "user", "content": text}])
        expected = plain.generate(prompt, params).outputs[0]
        output = llm.generate(prompt, params).outputs[0]
        assert not output.stats.faults
        accepted += output.stats.accepted
        rejected += output.stats.drafted - output.stats.accepted
        if output.token_ids != expected.token_ids:
            pairs = zip(output.token_ids, expected.token_ids, strict=False)
            at = next(index for index, (one, other) in enumerate(pairs) if one != other)
            assert excused(plain, prompt, expected.token_ids[:at], params), f"{text!r} differs at {at} beyond the noise"
            ties += 1
    assert accepted, "no draft was accepted: the comparison shows nothing"
    assert rejected, "no draft was rejected: the comparison shows nothing"
    with capsys.disabled():
        print(f"\n[{drafter}, T={temperature}] {len(PROMPTS)} prompts, {ties} excused near-ties")


def test_the_excuse_does_not_excuse_everything(plain: LLM) -> None:
    """The known-bad twin: on ordinary positions the margin is far above the noise."""
    params = SamplingParams(max_tokens=8, seed=1)
    prompt = plain.encode_chat([{"role": "user", "content": PROMPTS[2]}])
    said = plain.generate(prompt, params).token_ids
    assert not any(excused(plain, prompt, said[:at], params) for at in range(4))


def test_several_sequences_in_one_pass_say_what_each_says_alone(plain: LLM) -> None:
    llm = with_drafter(plain, "lookup")
    params = SamplingParams(max_tokens=24, seed=3)
    prompts = [plain.encode_chat([{"role": "user", "content": text}]) for text in PROMPTS]
    together = llm.generate(prompts, params)
    for prompt, output in zip(prompts, together, strict=True):
        alone = llm.generate(prompt, params)
        if alone.token_ids != output.token_ids:
            pairs = zip(alone.token_ids, output.token_ids, strict=False)
            at = next(index for index, (one, other) in enumerate(pairs) if one != other)
            assert excused(plain, prompt, alone.token_ids[:at], params)


def test_choices_differ_and_repeat_by_seed(plain: LLM) -> None:
    params = SamplingParams(max_tokens=12, temperature=1.0, seed=11, n=3)
    first = plain.generate("Once upon a time", params)
    second = plain.generate("Once upon a time", params)
    assert [one.token_ids for one in first.outputs] == [one.token_ids for one in second.outputs]
    assert len({one.token_ids for one in first.outputs}) == 3


def test_streamed_text_is_the_text(plain: LLM) -> None:
    llm = with_drafter(plain, "lookup")
    params = SamplingParams(max_tokens=32, stop=("blue",))
    prompt = [{"role": "user", "content": PROMPTS[2]}]
    chunks = list(llm.stream_chat(prompt, params))
    whole = llm.chat(prompt, params)
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert "blue" not in whole.text


def test_generation_reports_logprobs_of_the_target(plain: LLM) -> None:
    llm = with_drafter(plain, "lookup")
    params = SamplingParams(max_tokens=16, logprobs=3)
    ours, theirs = (one.generate("One two three one two three one", params).outputs[0] for one in (llm, plain))
    assert ours.token_ids == theirs.token_ids
    assert len(ours.logprobs) == 16
    for one, other in zip(ours.logprobs, theirs.logprobs, strict=True):
        assert one.token == other.token
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert [token for token, _ in one.top][:1] == [one.token]


def test_the_steps_account_for_every_token(plain: LLM) -> None:
    llm = with_drafter(plain, "lookup")
    sequence = llm.open(llm.encode("a b c a b c a b c"), SamplingParams(max_tokens=20))
    steps = [step for _, step in generate(llm.loaded.model, llm.policy, [sequence])]
    assert sum(len(step.tokens) for step in steps) == len(sequence.output)
    assert all(len(step.tokens) == step.accepted + 1 for step in steps[:-1])
    sequence.close()
