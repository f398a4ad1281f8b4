"""The processes of a run: this one alone, or several that `torchrun` started.

Several hold what is trained each in whole, and average gradients (DistributedDataParallel), or each a part of it, of
its gradients and of the optimizer's numbers (FSDP2's fully_shard). Every process takes its share of each batch's texts,
and losses are divided by what counts in all shares together, so that they are those of one process with the same batch.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from foredraft.core.errors import ForedraftError, UsageError
from foredraft.train.corpus import Text

LONGEST = datetime.timedelta(minutes=30)  # that one waits for another: rank 0 evaluates alone
T = TypeVar("T")
Total = Callable[[Tensor], Tensor]
Parts = Callable[[Sequence[Text]], Iterator[Tensor]]


def itself(value: Tensor) -> Tensor:
    """The total over one process."""
    return value


class Learnt(Protocol):
    """What of a recipe is learnt."""

    @property
    def head(self) -> nn.Module: ...

    def losses(self, texts: Sequence[Text], total: Total = itself) -> Iterator[Tensor]: ...


class Processes(Protocol):
    """count: how many. rank: which of them this is; the first, 0, evaluates, writes and tells."""

    @property
    def count(self) -> int: ...

    @property
    def rank(self) -> int: ...

    def learner(self, recipe: Learnt) -> Parts:
        """From a batch to the parts of the loss of this process's share of it. Parameters are to be taken after it."""

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, which all must ask for."""

    def agreed(self, value: float) -> float:
        """That of the first, which is everyone's from now on."""

    def each(self, value: T) -> list[T]:
        """Those of all, by rank."""

    def whole(self, module: nn.Module) -> AbstractContextManager[None]:
        """Meanwhile the module's parameters are whole, and not to be changed."""

    def gathered(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state of an optimizer with whole tensors."""

    def spread(self, values: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Any]:
        """Of whole tensors what this process holds of those of the same name and shape."""

    def together(self) -> AbstractContextManager[None]:
        """Meanwhile a process that ends is an error of the others."""


@dataclass(frozen=True)
class Alone:
    """One process, for which there is nothing to share."""

    count: ClassVar[int] = 1
    rank: ClassVar[int] = 0

    def learner(self, recipe: Learnt) -> Parts:
        return recipe.losses

    def total(self, value: Tensor) -> Tensor:
        return value

    def agreed(self, value: float) -> float:
        return value

    def each(self, value: T) -> list[T]:
        return [value]

    def whole(self, module: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    def gathered(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return dict(state)

    def spread(self, values: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Any]:
        return dict(values)

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()


class Loss(nn.Module):  # type: ignore[misc]
    """A recipe as one function of texts, as DistributedDataParallel and FSDP2 want it: its parts are added up, for one
    exchange of gradients a batch. held: what its parameters are found in."""

    def __init__(self, recipe: Learnt, total: Total, held: nn.Module) -> None:
        super().__init__()
        self.held, self._losses, self._total = held, recipe.losses, total
        self.idle = nn.Parameter(torch.zeros(1))  # never used: where all others are, looking for those is warned of

    def forward(self, texts: Sequence[Text]) -> Tensor:
        return torch.stack(list(self._losses(texts, self._total))).sum()


@dataclass(frozen=True)
class Several:
    """sharded: by FSDP2, with what is trained as one group; else by DistributedDataParallel."""

    rank: int
    count: int
    sharded: bool = False

    def learner(self, recipe: Learnt) -> Parts:
        own = list(recipe.head.parameters())
        if self.sharded:
            loss = Loss(recipe, self.total, recipe.head)
            fully_shard(loss, mesh=init_device_mesh(own[0].device.type, (self.count,)))
        else:  # without buffers, which it would send around; short responses leave the later steps of a head out
            held = Loss(recipe, self.total, nn.ParameterList(own))
            with _others():
                loss = DistributedDataParallel(held, find_unused_parameters=True)
        if self.rank:  # each draws noise of its own
            torch.manual_seed(torch.initial_seed() + self.rank)

        def parts(batch: Sequence[Text]) -> Iterator[Tensor]:
            yield loss(share(batch, self.rank, self.count))

        return parts

    def total(self, value: Tensor) -> Tensor:
        found = value.detach().clone()
        dist.all_reduce(found)
        return found

    def agreed(self, value: float) -> float:
        found = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(found, 0)
        return float(found)

    def each(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        own = list(module.named_parameters(remove_duplicate=False))  # one table may have two names
        full = {one: nn.Parameter(_full(one.detach()), one.requires_grad) for _, one in own if isinstance(one, DTensor)}
        try:
            _put(module, {name: full.get(one, one) for name, one in own})
            yield
        finally:
            _put(module, dict(own))

    def gathered(self, state: Mapping[str, Any]) -> dict[str, Any]:
        numbers = {
            place: {name: _full(value) for name, value in values.items()} for place, values in state["state"].items()
        }
        return {**state, "state": numbers}

    def spread(self, values: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Any]:
        return {name: _part(value, like.get(name)) for name, value in values.items()}

    @contextmanager
    def together(self) -> Iterator[None]:
        with _others():
            yield
        dist.destroy_process_group()


def started(device: str, sharded: bool = False) -> Processes:
    """The processes that torchrun started with this one, on GPUs one each; this one alone where it started none.

    Raises UsageError where there are too few processes or GPUs for what was asked.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if count == 1:
        if sharded:
            raise UsageError("what is trained is shared out among processes: start several by torchrun")
        return Alone()
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        local = int(os.environ.get("LOCAL_RANK", rank))
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"there are {torch.cuda.device_count()} GPUs here: start as many processes, or --device cpu"
            )
        torch.cuda.set_device(local)
    with _others():
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=LONGEST)
    return Several(rank, count, sharded)


def share(batch: Sequence[Text], rank: int, count: int) -> Sequence[Text]:
    """Every count-th text. A process that would have none gets one without a response, of which nothing counts."""
    return batch[rank::count] or [replace(batch[0], prompt=batch[0].prompt[:1], response=())]


@contextmanager
def _others() -> Iterator[None]:
    """Says which errors are those of another process."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        raise ForedraftError(
            "another process of this run has ended or does not answer: "
            "see what it said, and start all of them again, to go on from the last checkpoint"
        ) from error


def _put(module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
    for name, one in parameters.items():
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, one)


def _full(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _part(value: Any, like: Tensor | None) -> Any:
    """What this process holds of a tensor that all have in whole."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
