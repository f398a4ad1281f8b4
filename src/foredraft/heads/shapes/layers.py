"""Layers of a llama, as several heads have them: sizes, and the tensors of one."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Layers:
    """heads, kv_heads: of attention, each of head_size components. hidden: width of the gated half."""

    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    rope_base: float

    def __post_init__(self) -> None:
        positive(self)
        if self.head_size % 2:
            raise ValueError("its heads have no halves to rotate")
        if self.heads % self.kv_heads:
            raise ValueError("its heads do not share keys evenly")

    def layer(self, at: str, width: int) -> dict[str, tuple[int, ...]]:
        """The tensors of one layer, their names behind `at`."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            f"{at}{name}.weight": shape
            for name, shape in (
                ("attention_norm", (width,)),
                ("hidden_norm", (width,)),
                ("query", (queries, width)),
                ("key", (keys, width)),
                ("value", (keys, width)),
                ("out", (width, queries)),
                ("gate", (self.hidden, width)),
                ("up", (self.hidden, width)),
                ("down", (width, self.hidden)),
            )
        }


def one_place(taps: int) -> None:
    """Raises ValueError for a method that reads one place of its target, where a head says more."""
    if taps != 1:
        raise ValueError("it reads more than one layer of its target")


def positive(settings: object, *may_be_none: str) -> None:
    """Raises ValueError unless every number of a dataclass is above 0, those of `may_be_none` 0 or more."""
    for one in fields(settings):  # type: ignore[arg-type]
        value, whole = getattr(settings, one.name), one.type == "int"  # annotations are texts
        if whole and type(value) is not int:
            raise ValueError(f"its {one.name} is no whole number")
        if not (value >= 0 if one.name in may_be_none else value > 0):
            raise ValueError(f"its {one.name} is no size")
