"""Options of the drafters that use a second model: which one, and how it is loaded to cost less."""

from __future__ import annotations

from dataclasses import dataclass, field

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Thrift


@dataclass(frozen=True)
class Second:
    model: str = field(metadata={"help": "the draft model: a known name, a path or a hub id"})
    quantize: str = field(default="", metadata={"help": "int8 or int4, for the draft model; as stored by default"})
    head: int = field(default=0, metadata={"help": "tokens the draft model may say, the commonest; 0 for all"})
    head_text: str = field(default="", metadata={"help": "a text file that shows which tokens are common"})

    def __post_init__(self) -> None:
        if self.quantize not in ("", "int8", "int4"):
            raise UsageError(f"quantize of a draft model must be int8 or int4, not {self.quantize!r}")
        if self.head_text and not self.head:
            raise UsageError("head_text says which tokens a head of head=N keeps: give head too")

    @property
    def thrift(self) -> Thrift:
        return Thrift(self.quantize or None, self.head, self.head_text or None)
