"""A student's pass over texts, and how often what it drafts there would be accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foredraft.train import divergences
from foredraft.train.corpus import Text
from foredraft.train.fused_loss import ROWS
from foredraft.train.recipe import chains
from foredraft.train.target import Rows, TorchTarget


def states_of(student: Any, rows: Rows) -> Tensor:
    """[texts, columns, width], what its `lm_head` reads."""
    found: Tensor = student.model(
        input_ids=rows.ids,
        attention_mask=rows.real.long(),
        position_ids=rows.positions,
        use_cache=False,
    ).last_hidden_state
    return found


def counted(rows: Rows) -> Tensor:
    """[texts, columns]: positions whose next token is one of the response."""
    counts = torch.zeros_like(rows.real)
    counts[:, rows.start : -1] = rows.real[:, rows.start + 1 :]
    return counts & rows.real


@torch.no_grad()  # type: ignore[untyped-decorator]
def accepted(student: Any, rows: Rows, block: int) -> tuple[int, int, np.ndarray]:
    """Tokens emitted, passes, and accepted drafts by position, of greedy chains of `block`.

    A draft reads the text and the drafts before it, which are the text as long as they are accepted.
    """
    start, width = rows.start, rows.ids.shape[1]
    agree = torch.zeros(rows.ids.shape, dtype=torch.bool)
    for row, states in enumerate(states_of(student, rows)):
        guess = student.lm_head(states[start:-1]).argmax(-1)
        agree[row, start:-1] = (guess == rows.ids[row, start + 1 :]).cpu()
    steps = np.zeros((block, *agree.shape), dtype=bool)
    for step in range(min(block, width)):
        steps[step, :, : width - step] = agree[:, step:].numpy()
    return chains(steps, rows.real.cpu().numpy(), start)


@torch.no_grad()  # type: ignore[untyped-decorator]
def overlap(student: Any, rows: Rows, last: Tensor, head: Tensor) -> tuple[float, int]:
    """The summed overlap of its laws with the target's, of whose states after the last layer `head` makes them, and
    over how many positions."""
    counts, total = counted(rows), 0.0
    own, known = states_of(student, rows)[counts], last[counts]
    for states, theirs in zip(own.split(ROWS), known.split(ROWS), strict=True):
        p = F.linear(theirs, head).float().log_softmax(-1)
        q = student.lm_head(states).float().log_softmax(-1)
        total += float(divergences.overlap(p, q).sum())
    return total, int(counts.sum())


@torch.no_grad()  # type: ignore[untyped-decorator]
def said_by(student: Any, target: TorchTarget, texts: Sequence[Text], seed: int) -> list[Text]:
    """What it answers to the same prompts, at temperature 1."""
    longest = max(len(text.response) for text in texts)
    kind = target.device.type
    apart = torch.autocast(kind, enabled=False)  # which would keep weights cast here, where nothing is learnt
    try:
        with apart, torch.random.fork_rng(devices=[target.device] if kind == "cuda" else []):
            said = list(target.answer([text.prompt for text in texts], longest, 1.0, seed, model=student.eval()))
    finally:
        student.train()
    return [replace(text, response=own) for text, own in zip(texts, said, strict=True)]
