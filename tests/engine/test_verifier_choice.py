"""A request names its verifier: it decides how drafts are drawn and judged, and reports say where it is lossy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import foredraft
from foredraft import LLM, Conversation, SamplingParams
from foredraft.bench.entrants import PLAIN, Entrant
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Json
from foredraft.bench.report import run_json
from foredraft.bench.run import prepare, run_cases
from foredraft.bench.words import summary
from foredraft.cli import run
from foredraft.cli.show import LOSSY, stats_json, status_line
from foredraft.core.errors import UnknownName, UsageError
from foredraft.engine.compare import compare
from foredraft.engine.loop import generate
from foredraft.verify.match import Match
from foredraft.verify.traversal import Traversal
from tiny import write_model

Capture = pytest.CaptureFixture[str]
PROMPT = "abc abc abd abc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "model", seed=3)


@pytest.fixture(scope="module")
def llm(folder: Path) -> Iterator[LLM]:
    """Drafts with the target itself, so that a good deal is accepted."""
    with foredraft.load(str(folder), f"model:{folder},tree=2x2", threads=1) as loaded:
        yield loaded


def warm(verifier: str | None, seed: int = 5) -> SamplingParams:
    return SamplingParams(max_tokens=24, temperature=1.0, seed=seed, verifier=verifier)


def test_a_request_has_the_verifier_it_names(llm: LLM) -> None:
    ids = llm.encode(PROMPT)
    for name, kind, draw in ((None, Match, "coupled"), ("traversal", Traversal, "sampled")):
        sequence = llm.open(ids, warm(name))
        assert type(sequence.verifier) is kind
        assert sequence.request.draw == draw
        sequence.close()


@pytest.mark.parametrize("verifier", ["recursive", "specinfer", "sequoia", "block", "traversal", "kseq"])
def test_its_drafts_are_drawn_for_it(llm: LLM, verifier: str) -> None:
    """Nodes carry laws, nothing faults, some drafts stand: the text is another sample of the same law."""
    found = llm.generate(PROMPT, warm(verifier))
    assert found.stats.faults == ()
    assert found.stats.accepted > 0
    assert found.stats.lossless
    assert found.token_ids == llm.generate(PROMPT, warm(verifier)).token_ids
    greedy = SamplingParams(max_tokens=24, verifier=verifier)
    assert llm.generate(PROMPT, greedy).token_ids == llm.generate(PROMPT, SamplingParams(max_tokens=24)).token_ids


def test_one_round_serves_sequences_of_several_verifiers(llm: LLM) -> None:
    """The policy is shared, and each keeps to its own way of drafting."""
    ids, names = llm.encode(PROMPT), (None, "traversal", "kseq", "block")
    alone = [llm.generate(PROMPT, warm(name)).token_ids for name in names]
    sequences = [llm.open(ids, warm(name)) for name in names]
    for _, step in generate(llm.loaded.model, llm.policy, sequences):
        assert step.fault is None
    assert [tuple(sequence.output) for sequence in sequences] == alone
    for sequence in sequences:
        sequence.close()


def test_replacement_is_asked_for_by_name(llm: LLM) -> None:
    """Equal siblings come up where they are drawn with replacement, and never where they are not."""
    doubles = {}
    for verifier in ("sequoia", "specinfer"):
        trees = [step.tree for seed in range(6) for step in llm.generate(PROMPT, warm(verifier, seed)).outputs[0].steps]
        doubles[verifier] = sum(
            len({tree.tokens[child] for child in tree.children(node)}) < len(tree.children(node))
            for tree in trees
            for node in range(-1, len(tree))
        )
    assert doubles["sequoia"] == 0
    assert doubles["specinfer"] > 0


def test_a_lossy_verifier_is_refused_unless_allowed(llm: LLM, folder: Path) -> None:
    with pytest.raises(UsageError, match="allow_lossy=True"):
        llm.generate(PROMPT, warm("typical"))
    with pytest.raises(UsageError, match="allow_lossy=True"):
        foredraft.load(str(folder), "none", verifier="relaxed")
    with pytest.raises(UnknownName, match="verifier 'best'"):
        llm.generate(PROMPT, warm("best"))
    with pytest.raises(UsageError, match="verifier must be a name, not 3"):
        SamplingParams(verifier=3)  # type: ignore[arg-type]


def test_every_report_says_that_it_is_lossy(folder: Path) -> None:
    with foredraft.load(str(folder), f"model:{folder}", threads=1, allow_lossy=True) as llm:
        for verifier, lossless in (("typical", False), ("relaxed", False), ("recursive", True)):
            found = llm.generate(PROMPT, warm(verifier))
            (completion,) = found.outputs
            assert all(step.lossless == lossless for step in completion.steps if step.tokens)
            assert found.stats.lossless == completion.stats.lossless == lossless
            assert stats_json(completion, "model")["lossless"] == lossless
            assert (LOSSY in status_line(completion, "model")) == (not lossless)
        conversation = Conversation(llm)
        for _ in conversation.reply("hello", warm("relaxed")):
            pass
        assert conversation.last is not None
        assert LOSSY in status_line(conversation.last, "model")
        with pytest.raises(UsageError, match="compare at temperature 0"):
            compare(llm, llm.encode(PROMPT), warm("typical"))
        greedy = SamplingParams(max_tokens=8, verifier="typical")
        found_ = compare(llm, llm.encode(PROMPT), greedy)
        assert found_.identical
        assert not found_.speculative.completion.stats.lossless
        assert found_.plain.completion.stats.lossless


def test_a_benchmark_of_a_lossy_verifier_says_so(folder: Path) -> None:
    with foredraft.load(str(folder), "none", threads=1) as plain:
        lossy = LLM(plain.loaded, "lookup", verifier="relaxed", allow_lossy=True)
        entrants = [Entrant(PLAIN, plain), Entrant("lookup", lossy)]
        lines: list[Json] = []
        tasks = prepare(plain, [Prompt("one", "task", (PROMPT,))], 0, raw=True)
        cases = run_cases(entrants, tasks, SamplingParams(max_tokens=8, temperature=1.0), keep=lines.append)
        found = run_json(cases, "lookup")
        assert found["lossless"] is False
        assert "LOSSY" in " ".join(summary({"runs": [found], "row_invariant": False, "prompts": 1}))
        assert json.dumps(lines).count('"lossless": false') == len(cases[0].trials["lookup"].steps)
        assert '"lossless"' not in json.dumps(lines[0]["trials"][PLAIN])


def test_on_the_command_line(folder: Path, capsys: Capture) -> None:
    common = ["generate", "--threads", "1", "-m", str(folder), "--drafter", "lookup", "--max-tokens", "8", "hello"]
    assert run([*common, "--verifier", "typical"]) == 2
    assert "allow that with --allow-lossy" in capsys.readouterr().err
    assert run([*common, "--verifier", "typical:epsilon=0.2", "--allow-lossy", "--temperature", "1"]) == 0
    assert LOSSY in capsys.readouterr().err
    assert run([*common, "--verifier", "relaxed", "--allow-lossy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stats"]["lossless"] is False
    assert run([*common, "--verifier", "typical", "--allow-lossy", "--compare"]) == 0
    assert LOSSY in capsys.readouterr().out
    assert run([*common, "--verifier", "traversal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stats"]["lossless"] is True
