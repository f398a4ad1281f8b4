"""Disk and memory that end: said before a run where it can be known, else as a sentence with the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from foredraft.core.errors import ForedraftError, UsageError
from foredraft.train.taps import giga


def expect(out: Path, head: nn.Module, trained: Iterable[Tensor], tell: Callable[[str], None]) -> None:
    """Says what a run writes at most. Raises UsageError where the disk has less.

    trained: those of which the optimizer keeps two numbers more.
    """
    drafts = _bytes(head.state_dict().values())
    state = drafts + 2 * _bytes(trained)
    need = 2 * state + drafts  # the one before stays until the next is whole
    have = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    free = shutil.disk_usage(out).free
    said = f"checkpoints take up to {giga(need)} while they are replaced"
    tell(f"{said}; {giga(free)} are free")
    if need - have > free:
        raise UsageError(f"{said}, and {giga(free)} are free in {out}: make room, or give an --out on another disk")


@contextmanager
def enough_memory(tokens: int) -> Iterator[None]:
    """Raises ForedraftError when memory has run out. tokens: of a batch."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError) and not _allocator(error):
            raise
        raise ForedraftError(
            f"memory ran out with batches of {tokens} tokens: begin with a lower --tokens in another --out, "
            "or free some and run it again to go on"
        ) from error


def _allocator(error: RuntimeError) -> bool:
    """Of the CPU, whose errors have no type."""
    return "DefaultCPUAllocator" in str(error)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)
