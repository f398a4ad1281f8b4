"""How a checkpoint came to be, as it is told beside it, and what of that a run shares with one that it goes on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from foredraft import __version__
from foredraft.heads import files
from foredraft.train.corpus import Text
from foredraft.train.taps import Taps
from foredraft.train.target import TorchTarget

if TYPE_CHECKING:
    from foredraft.train.trainer import Recipe

FREE = ("steps", "minutes", "evaluate")  # may be others when a run is taken up: it ends, or is judged, at other times


def told(recipe: Recipe, texts: Sequence[Text], settings: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """texts: that are learnt from. settings: of the loop."""
    return {
        "foredraft": __version__,
        "texts": len(texts),
        "response_tokens": sum(len(text.response) for text in texts),
        "settings": dict(settings),
        "recipe": asdict(recipe.settings),
        "states": {"from": _source(recipe.target), "dtype": _dtype(recipe.target)},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "torch": torch.__version__,
    }


def same(recipe: Recipe, texts: Sequence[Text], settings: Mapping[str, Any]) -> str:
    """What must be the same, as JSON. texts: those too by which it is judged."""
    head: Any = recipe.head
    says = head.state_dict().get(files.VOCABULARY)
    kept = {
        "head": recipe.describe({}).json(),
        "vocabulary": None if says is None else _digest(says.tolist()),
        "texts": _digest(list(texts)),
        "kept": _source(recipe.target) == "kept",  # what is remembered is what would be computed
        "dtype": _dtype(recipe.target),
        **{f"recipe {name}": value for name, value in asdict(recipe.settings).items()},
        **{name: value for name, value in settings.items() if name not in FREE},
    }
    return json.dumps(kept)


def differing(before: str, now: str) -> Iterator[str]:
    """What is not the same, with what it was where that can be read."""
    there, here = json.loads(before), json.loads(now)
    if not isinstance(there, dict):
        yield "it is of an earlier version"
        return
    for name in sorted({*there, *here}):
        one, other = there.get(name), here.get(name)
        if one != other:
            long = name in ("head", "vocabulary", "texts")
            yield name if long else f"{name.removeprefix('recipe ')} was {json.dumps(one)}, not {json.dumps(other)}"


def _source(target: TorchTarget) -> str:
    if target.kept is None:
        return "torch"
    return "kept" if isinstance(target.kept, Taps) else "remembered"


def _dtype(target: TorchTarget) -> str:
    return str(target.model.dtype).removeprefix("torch.")


def _digest(values: Any) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
