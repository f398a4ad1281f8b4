"""Heads that draft token by token, put together: which rows there are (`draft/steps.py`), and what computes them."""

from __future__ import annotations

from typing import Any

from foredraft.core.protocols import Model
from foredraft.draft.plain_steps import PlainRows
from foredraft.draft.steps import Apart, Recursive, Rows, StepHead
from foredraft.draft.trees import PlainTrees, Trees
from foredraft.heads.files import Arrays, HeadConfig


def plain_steps(target: Model, config: HeadConfig[Any], tensors: Arrays, **how: Any) -> StepHead:
    """In numpy. how: dtype."""
    return _stepping(PlainRows(target, config, tensors, config.shape.modules, **how), PlainTrees())


def native_steps(target: Model, config: HeadConfig[Any], tensors: Arrays, **how: Any) -> StepHead:
    """On the native engine. how: threads, quantize, activations, pool."""
    from foredraft.models.native_head_steps import NativeRows

    rows = NativeRows(target, config, tensors, config.shape.modules, **how)
    return _stepping(rows, rows.trees)


def _stepping(rows: Rows, trees: Trees) -> StepHead:
    return Apart(rows, trees) if rows.modules > 1 else Recursive(rows, trees)
