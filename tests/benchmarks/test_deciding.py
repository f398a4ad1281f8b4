"""Where the time of rounds went: parts that add up to all of it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import deciding

from foredraft.bench.record import Trial
from foredraft.core.events import Step, Times
from foredraft.core.tree import DraftTree


def test_the_parts_of_a_round_add_up() -> None:
    """Two rounds of 1 and 2 tokens: a millisecond of drafting each, of which sources took 0.4 and 0.6."""
    times = Times(draft=1e-3, verify=4e-3, sample=5e-4)
    one = Step(0, (1,), 0, DraftTree.chain([2, 3], "a"), rows=3, seconds=times, spent=(("a", 4e-4),))
    other = Step(1, (4, 5), 1, DraftTree.chain([4], "a"), rows=2, seconds=times, spent=(("a", 5e-4), ("b", 1e-4)))
    trial = Trial(seconds=14e-3, opening=1e-3, finish="length", prompt_faults=(), steps=(one, other))
    found = deciding.parts([trial])
    assert found == {
        "rounds": 2,
        "tokens": 1.5,
        "rows": 2.5,
        "all": 7000,
        "passes": 4000,
        "sources": 500,
        "rest of drafting": 500,
        "choosing": 500,
        "prompt": 500,
        "beside": 1000,
    }
    assert sum(found[part] for part in list(found)[4:]) == found["all"]


def test_drafting_beside_a_plain_pass() -> None:
    found = {"passes": 9, "sources": 200, "rest of drafting": 100, "prompt": 50, "beside": 50}
    shares = deciding.ratios(found, {"passes": 2000})
    assert shares == {"sources / t(1)": 0.1, "drafting / t(1)": 0.15, "all / t(1)": 0.2}


def test_a_look_counts_where_what_it_drafted_was_scored() -> None:
    """Two levels of `a` for 2 ms, then a round in which it was told what came and another's draft was scored."""
    looked = Step(0, (1,), 0, DraftTree.chain([2, 3], "a+b"), rows=3, spent=(("a", 2e-3),))
    told = Step(1, (4,), 0, DraftTree.chain([4], "b"), rows=2, spent=(("a", 1e-4),))
    trial = Trial(seconds=1.0, opening=0.0, finish="length", prompt_faults=(), steps=(looked, told))
    found = deciding.step([trial], "a", {"passes": 20_000})
    assert found == {"drafted": 0.5, "look / t(1)": 0.1, "depth": 2.0, "level / t(1)": 0.05}
