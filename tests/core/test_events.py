"""Statistics are derived from steps alone."""

from __future__ import annotations

import pytest

from foredraft.core.events import Step, Times
from foredraft.core.tree import ROOT, DraftTree
from foredraft.engine.stats import stats

# Root children 0 (lookup) and 1 (model); 0 has children 2 (model) and 3 (a probe).
TREE = DraftTree(
    (5, 6, 7, 8),
    (ROOT, ROOT, 0, 0),
    (0.0,) * 4,
    ("lookup", "model", "model", "window"),
    (None,) * 4,
    (False, False, False, True),
)


def test_nothing_has_no_rates() -> None:
    none = stats([])
    assert (none.tokens, none.passes, none.mean_acceptance_length, none.draft_acceptance_rate) == (0, 0, 0.0, 0.0)
    assert none.acceptance_by_position == ()


def test_rates_are_derived_from_the_steps() -> None:
    steps = [
        Step(0, (), rows=4),  # a chunk of the prompt: no pass that emits
        Step(0, (5, 7, 9), accepted=2, tree=TREE, path=(0, 2), rows=5),
        Step(3, (6, 1), accepted=1, tree=TREE, path=(1,), rows=5),
        Step(5, (1,), tree=TREE, rows=5),
        Step(6, (1,), rows=1),
    ]
    total = stats(steps)
    assert (total.tokens, total.passes, total.drafts, total.drafted, total.accepted) == (7, 4, 3, 9, 3)
    assert total.mean_acceptance_length == 7 / 4
    assert total.draft_acceptance_rate == 3 / 9
    assert total.by_depth == ((3, 2), (3, 1))
    assert total.acceptance_by_position == (2 / 3, 1 / 3)
    assert set(total.by_source) == {("lookup", 3, 1), ("model", 6, 2)}


def test_a_block_cut_by_the_end_of_text_counts_what_was_said() -> None:
    """Two drafts stood, the first of them ended the text: one token, one acceptance, by its own source."""
    total = stats([Step(0, (5,), accepted=1, tree=TREE, path=(0, 2), rows=5, finish="stop")])
    assert (total.tokens, total.accepted) == (1, 1)
    assert total.by_depth == ((1, 1), (1, 0))
    assert set(total.by_source) == {("lookup", 1, 1), ("model", 2, 0)}


def test_probes_are_neither_drafted_nor_deep() -> None:
    probes = DraftTree.of([1, 2, 3], [ROOT, 0, 1], "window", probes=[False, True, True])
    total = stats([Step(0, (1, 2), accepted=1, tree=probes, path=(0,), rows=4)])
    assert (total.drafted, total.by_depth, total.by_source) == (1, ((1, 1),), (("window", 1, 1),))
    only = stats([Step(0, (1,), tree=DraftTree.of([1], [ROOT], "window", probes=[True]), rows=2)])
    assert (only.drafts, only.drafted, only.by_source) == (0, 0, ())


def test_faults_and_seconds_add_up() -> None:
    total = stats(
        [
            Step(0, (1,), fault="ValueError: no", seconds=Times(draft=1.0, verify=2.0)),
            Step(1, (1,), seconds=Times(draft=0.5, sample=0.25, other=0.25)),
        ]
    )
    assert total.faults == ("ValueError: no",)
    assert total.seconds == Times(1.5, 2.0, 0.25, 0.25)
    assert total.seconds.total == pytest.approx(4.0)
