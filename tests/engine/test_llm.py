"""The public face on a tiny real model: prompts, batches, choices, stopping, words, logprobs, conversations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import foredraft
from foredraft import LLM, Conversation, SamplingParams
from foredraft.core.errors import PromptError, UsageError
from tiny import write_model


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = write_model(tmp_path_factory.mktemp("tiny") / "model", seed=3)
    with foredraft.load(str(folder), threads=1) as loaded:
        yield loaded


def plain_of(llm: LLM) -> LLM:
    return LLM(llm.loaded, "none")


def test_text_and_ids_are_the_same_prompt(llm: LLM) -> None:
    params = SamplingParams(max_tokens=10)
    ids = llm.encode("hello")
    assert llm.generate("hello", params).token_ids == llm.generate(ids, params).token_ids
    assert llm.generate("hello", params).prompt_token_ids == ids


def test_a_list_of_prompts_gives_a_list_in_order(llm: LLM) -> None:
    params = SamplingParams(max_tokens=12, seed=1, temperature=0.9)
    prompts = ["one", "a longer prompt two", "x", "one"] * 3  # more than share one pass
    together = llm.generate(prompts, params)
    assert [output.token_ids for output in together] == [llm.generate(one, params).token_ids for one in prompts]


def test_choices_are_different_and_do_not_depend_on_how_many_there_are(llm: LLM) -> None:
    params = SamplingParams(max_tokens=12, seed=5, temperature=1.2, n=4)
    four = llm.generate("hello", params).outputs
    assert [one.index for one in four] == [0, 1, 2, 3]
    assert len({one.token_ids for one in four}) == 4
    two = llm.generate("hello", SamplingParams(max_tokens=12, seed=5, temperature=1.2, n=2)).outputs
    assert [one.token_ids for one in two] == [one.token_ids for one in four[:2]]
    alone = plain_of(llm).generate("hello", SamplingParams(max_tokens=12, seed=5, temperature=1.2))
    assert alone.token_ids == four[0].token_ids


def test_streaming_gives_the_same_text_in_pieces(llm: LLM) -> None:
    params = SamplingParams(max_tokens=40, seed=2, temperature=1.5, n=2)
    whole = llm.generate("abcabcabc", params)
    pieces = list(llm.stream("abcabcabc", params))
    for output in whole.outputs:
        own = [piece for piece in pieces if piece.choice == output.index]
        assert "".join(piece.text for piece in own) == output.text
        assert own[-1].finish_reason == output.finish_reason
        assert tuple(token for piece in own for token in piece.token_ids) == output.token_ids


def test_the_cap_the_context_and_the_end_token_finish(llm: LLM) -> None:
    capped = llm.generate("hello", SamplingParams(max_tokens=5, ignore_eos=True))
    assert (capped.finish_reason, len(capped.token_ids)) == ("length", 5)
    prompt = "x" * 250
    full = llm.generate(prompt, SamplingParams(max_tokens=None, ignore_eos=True))
    assert (full.finish_reason, len(full.token_ids)) == ("length", 6)
    assert plain_of(llm).generate(prompt, SamplingParams(max_tokens=None, ignore_eos=True)).token_ids == full.token_ids
    said = llm.generate("hello", SamplingParams(max_tokens=30, ignore_eos=True)).token_ids
    stopped = llm.generate("hello", SamplingParams(max_tokens=30, ignore_eos=True, stop_token_ids=(said[7],)))
    assert stopped.finish_reason == "stop"
    assert stopped.token_ids == said[: said.index(said[7]) + 1]
    assert stopped.outputs[0].stop_reason == said[7]


def test_bad_words_bias_and_allowed_tokens_hold_in_drafted_text(llm: LLM) -> None:
    letters = tuple(llm.encode("abcde"))
    spoken = SamplingParams(max_tokens=40, temperature=1.0, seed=2, allowed_token_ids=letters)
    text = llm.generate("ababab", spoken).text
    pair = text[5:7]
    assert pair in text
    assert pair not in llm.generate("ababab", dataclasses.replace(spoken, bad_words=(pair,))).text
    few = SamplingParams(max_tokens=20, temperature=1.0, seed=1, allowed_token_ids=(50, 51, 52))
    assert set(llm.generate("ababab", few).token_ids) <= {50, 51, 52}
    for params in (
        few,
        SamplingParams(max_tokens=20, repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.3),
        SamplingParams(max_tokens=20, logit_bias={60: 4.0, 61: -100.0}, temperature=0.7, seed=3),
        SamplingParams(max_tokens=20, min_tokens=15, temperature=2.0, seed=4),
    ):
        assert llm.generate("ababab", params).token_ids == plain_of(llm).generate("ababab", params).token_ids


def test_logprobs_are_the_models_own(llm: LLM) -> None:
    params = SamplingParams(max_tokens=15, logprobs=4, temperature=0.8, seed=9, top_k=5)
    ours = llm.generate("abababab", params).outputs[0].logprobs
    theirs = plain_of(llm).generate("abababab", params).outputs[0].logprobs
    assert [one.token for one in ours] == [one.token for one in theirs]
    np.testing.assert_allclose([one.logprob for one in ours], [one.logprob for one in theirs], atol=1e-4)
    for one in ours:
        values = [value for _, value in one.top]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert one.logprob <= values[0] + 1e-9


def test_refusals(llm: LLM) -> None:
    with pytest.raises(PromptError, match="empty"):
        llm.generate("")
    with pytest.raises(PromptError, match="no prompt"):
        llm.generate([])
    with pytest.raises(PromptError, match="vocabulary"):
        llm.generate([5, 10_000])
    with pytest.raises(PromptError, match="shorten"):
        llm.generate("x" * 256)
    with pytest.raises(PromptError, match="give at least one"):
        llm.chat([])
    for wrong in ([[{"role": "user", "content": "x"}]], [{"role": "user", "content": ""}]):
        with pytest.raises(PromptError):
            llm.chat(wrong)
    with pytest.raises(UsageError, match="stop_token_ids"):
        llm.generate("x", SamplingParams(stop_token_ids=(9999,)))
    with pytest.raises(UsageError, match="n must be 1"):
        next(Conversation(llm).reply("x", SamplingParams(n=2, temperature=1.0)))
    with pytest.raises(UsageError, match="logit_bias"):
        llm.generate("x", SamplingParams(logit_bias={9999: 1.0}))
    with pytest.raises(UsageError, match="max_num_seqs"):
        LLM(llm.loaded, "none", max_num_seqs=0)


def test_a_conversation_reuses_its_cache_and_says_the_same(llm: LLM) -> None:
    params = SamplingParams(max_tokens=12)
    talk = Conversation(llm, system="be brief")
    asked = ["hello there", "and now?"]
    said = []
    for text in asked:
        said.append("".join(chunk.text for chunk in talk.reply(text, params)))
    assert talk.cached > len(llm.encode("hello there"))
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": asked[0]}]
    first = llm.chat(messages, params)
    messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": asked[1]}]
    assert said == [first.text, llm.chat(messages, params).text]
    talk.close()


def test_turns_of_a_conversation_draw_their_own_noise(llm: LLM) -> None:
    """With one seed the same question twice must not begin alike more often than chance has it."""
    same = 0
    for seed in range(20):
        talk, params = Conversation(llm), SamplingParams(max_tokens=1, temperature=1.0, seed=seed)
        first, second = (next(talk.reply("hello", params)).token_ids for _ in range(2))
        same += first == second
        talk.close()
    assert same <= 10


def test_numpy_prompts_and_json_spellings_are_taken(llm: LLM) -> None:
    ids = llm.encode("hello")
    params = SamplingParams(max_tokens=5)
    assert llm.generate(np.array(ids), params).token_ids == llm.generate(ids, params).token_ids  # type: ignore[call-overload]
    assert llm.generate([np.array(ids)], params)[0].token_ids == llm.generate(ids, params).token_ids  # type: ignore[list-item]
    assert SamplingParams(logit_bias={"5": 1.0}, stop=None, stop_token_ids=None).logit_bias == {5: 1.0}  # type: ignore[dict-item, arg-type]
    for wrong in ({"temperature": "hot"}, {"max_tokens": 2.5}, {"n": 2}, {"logit_bias": {"x": 1.0}}, {"seed": 1.5}):
        with pytest.raises(UsageError):
            SamplingParams(**wrong)  # type: ignore[arg-type]


def test_a_turn_cut_short_or_refused_leaves_the_conversation_whole(llm: LLM) -> None:
    talk = Conversation(llm)
    reply = talk.reply("hello", SamplingParams(max_tokens=30, ignore_eos=True))
    next(reply)
    reply.close()
    assert [message["role"] for message in talk.messages] == ["user", "assistant"]
    with pytest.raises(PromptError):
        list(talk.reply("y" * 300))
    assert len(talk.messages) == 2
    assert list(talk.reply("go on", SamplingParams(max_tokens=5)))
    assert talk.cached > 0
    talk.close()


def test_models_can_draft_for_each_other(llm: LLM, tmp_path: Path) -> None:
    second = write_model(tmp_path / "second", seed=4, layers=1, extra="zzz")
    params = SamplingParams(max_tokens=30, temperature=1.0, seed=8)
    expected = plain_of(llm).generate("hello", params).token_ids
    for drafter in (f"model:{second},k=3", f"model:{second},tree=2x1x1,k=6", f"model:{llm.loaded.source.path},k=4"):
        drafted = LLM(llm.loaded, drafter)
        output = drafted.generate("hello", params)
        assert output.token_ids == expected
        assert output.stats.drafted > 0
        assert not output.stats.faults
        drafted.drafting.close()


def test_the_classical_verifier_runs_with_every_kind_of_draft(llm: LLM) -> None:
    params = SamplingParams(max_tokens=30, temperature=1.0, seed=8)
    path = llm.loaded.source.path
    for drafter in ("lookup:n=1", "lookup:branches=3", f"model:{path},k=3", f"model:{path},tree=3x2,k=8"):
        output = LLM(llm.loaded, drafter, verifier="recursive").generate("abababab", params)
        assert len(output.token_ids) == 30 or output.finish_reason == "stop"
        assert not output.stats.faults
    greedy = SamplingParams(max_tokens=30)
    ours = LLM(llm.loaded, f"model:{path},tree=3x2,k=8", verifier="recursive").generate("abababab", greedy)
    assert ours.token_ids == plain_of(llm).generate("abababab", greedy).token_ids


def test_a_prediction_is_drafted_from_and_changes_no_token(llm: LLM) -> None:
    """The text itself expected back: all of it is drafted and accepted. Another text: the same tokens, no gain."""
    params = SamplingParams(max_tokens=40, ignore_eos=True)
    drafted, text = LLM(llm.loaded, "prediction:k=8"), plain_of(llm).generate("hello", params)
    told = dataclasses.replace(params, prediction=llm.tokenizer.decode(text.token_ids, skip_special=False))
    right = drafted.generate("hello", told)
    wrong = drafted.generate("hello", dataclasses.replace(params, prediction="something else"))
    assert right.token_ids == wrong.token_ids == text.token_ids
    if drafted.tokenizer.encode(str(told.prediction), add_bos=False) == list(text.token_ids):
        assert right.stats.passes < 8
    assert right.stats.accepted > 0
    with pytest.raises(UsageError, match="prediction"):
        SamplingParams(prediction=7)  # type: ignore[arg-type]


def test_a_number_is_given_once(llm: LLM) -> None:
    with pytest.raises(UsageError, match="says itself how many tokens"):
        LLM(llm.loaded, "lookup:k=4", num_speculative_tokens=3)
