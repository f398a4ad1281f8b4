"""Trained heads whose parts the native engine computes, put together: one function a method."""

from __future__ import annotations

from typing import Any

import numpy as np

from foredraft import _native
from foredraft.core.errors import UsageError
from foredraft.core.protocols import Model
from foredraft.draft.hydra_head import HydraHeads
from foredraft.draft.medusa_head import MedusaHeads
from foredraft.draft.mtp_head import MTPHeads
from foredraft.draft.trunk import Passing, Trunk
from foredraft.heads.files import Arrays, HeadConfig
from foredraft.heads.shapes.hydra import HydraShape
from foredraft.heads.shapes.medusa import MedusaShape
from foredraft.heads.shapes.mtp import MTPShape
from foredraft.models.native import Activations
from foredraft.models.native_head_parts import Packing, weights_of
from foredraft.models.native_head_residual import NativeResiduals
from foredraft.models.native_head_trunk import NativeTrunk
from foredraft.models.quantise import Quantize


class Parts:
    """What the parts of a head are made with: threads, packing, the target's rows of the output head."""

    def __init__(
        self,
        target: Model,
        tensors: Arrays,
        *,
        threads: int = 1,
        quantize: Quantize | None = "int8",
        activations: Activations = "int8",
        pool: Any = None,
        isa: str = "",
    ) -> None:
        """quantize: the form of the matrices, None for f32. pool: the target's threads, to share them."""
        self.target, self.tensors, self.isa, self.activations = target, tensors, isa, activations
        self.pool = pool if pool is not None else _native.Pool(threads)
        self.pack = Packing.to(self.pool, quantize)
        self.says = tensors["vocabulary"].astype(np.int64).tolist()

    def residuals(self, own: int) -> NativeResiduals:
        rows = None if own else self.target.head_rows(self.says)
        return NativeResiduals(self.pack, self.tensors, rows, self.isa, self.activations)

    def trunks(self, config: HeadConfig[Any], names: list[str], rows: Any) -> list[NativeTrunk]:
        """rows: of the output head that the last of them is asked for."""
        weights = weights_of(self.pack, self.target, config.shape, config.epsilon, self.tensors, names, rows)
        return [NativeTrunk(weights, layer, self.pool, self.isa, self.activations) for layer in range(len(names))]

    @property
    def trees(self) -> Any:
        return _native.BlockTree(len(self.says), self.pool, self.isa)


def medusa(target: Model, config: HeadConfig[MedusaShape], tensors: Arrays, **how: Any) -> MedusaHeads:
    """how: as for `Parts`. Raises UsageError for sizes that the engine does not compute."""
    try:
        parts = Parts(target, tensors, **how)
        return MedusaHeads(config, tensors, parts.residuals(config.shape.own), parts.trees)
    except (ValueError, ArithmeticError) as error:
        raise _refused(error) from error


def hydra(target: Model, config: HeadConfig[HydraShape], tensors: Arrays, **how: Any) -> HydraHeads:
    """As `medusa`."""
    try:
        parts, trunk = Parts(target, tensors, **how), list[Trunk]([Passing()])
        if config.shape.prefix:
            nothing = np.zeros((16, config.width), np.float32)  # nobody asks the layer for logits
            trunk = [*parts.trunks(config, ["prefix."], nothing)]
        return HydraHeads(target, config, tensors, trunk[0], parts.residuals(config.shape.own), parts.trees)
    except (ValueError, ArithmeticError) as error:
        raise _refused(error) from error


def mtp(target: Model, config: HeadConfig[MTPShape], tensors: Arrays, **how: Any) -> MTPHeads:
    """As `medusa`."""
    try:
        parts = Parts(target, tensors, **how)
        names = [f"layers.{head}." for head in range(config.block)]
        trunks = parts.trunks(config, names, target.head_rows(parts.says))
        return MTPHeads(config, tensors, trunks, trunks[0].project, parts.trees)
    except (ValueError, ArithmeticError) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> UsageError:
    return UsageError(f"the native engine does not compute this head ({error}): train another")
