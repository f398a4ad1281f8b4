"""The shapes of heads that draft token by token (docs/algorithms/eagle.md, eagle3.md, mtp_sequential.md)."""

from __future__ import annotations

from dataclasses import dataclass

from foredraft.heads.shapes.layers import Layers, one_place

FEATURE_NORM = "feature_norm.weight"
"""The target's own final norm, by which a head without one reads hidden states as they leave the layers."""


@dataclass(frozen=True, kw_only=True)
class EagleShape(Layers):
    """One decoder layer, behind a matrix that joins an embedding and a hidden state."""

    @property
    def modules(self) -> int:
        return 1

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        one_place(taps)
        at = "layers.0."
        return {FEATURE_NORM: (width,), f"{at}join.weight": (width, 2 * width)} | self.layer(at, width)


@dataclass(frozen=True, kw_only=True)
class Eagle3Shape(Layers):
    """One decoder layer, whose attention reads an embedding and a hidden state side by side."""

    @property
    def modules(self) -> int:
        return 1

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        at, own = "layers.0.", self.layer("layers.0.", width)
        del own[f"{at}attention_norm.weight"]
        for name in ("query", "key", "value"):
            own[f"{at}{name}.weight"] = (own[f"{at}{name}.weight"][0], 2 * width)
        norms: dict[str, tuple[int, ...]] = {
            f"{at}{name}.weight": (width,) for name in ("embedding_norm", "carried_norm")
        }
        return {"fuse.weight": (width, taps * width), "norm.weight": (width,)} | norms | own


@dataclass(frozen=True, kw_only=True)
class SequentialShape(Layers):
    """modules: each a norm of both inputs, a matrix that joins them and a layer; one for every token that is drafted,
    or one for all."""

    modules: int

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        one_place(taps)
        if self.modules not in (1, block):
            raise ValueError(f"its {self.modules} modules are neither one nor as many as the {block} tokens")
        found: dict[str, tuple[int, ...]] = {FEATURE_NORM: (width,), "norm.weight": (width,)}
        for module in range(self.modules):
            at = f"layers.{module}."
            found |= {f"{at}{name}.weight": (width,) for name in ("embedding_norm", "carried_norm")}
            found |= {f"{at}join.weight": (width, 2 * width)} | self.layer(at, width)
        return found
