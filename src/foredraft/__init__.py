"""foredraft: speculative decoding. The tokens the model would have said, in less time.

    import foredraft
    llm = foredraft.load("smollm2")
    print(llm.chat([{"role": "user", "content": "What is the square root of 7?"}]).text)

The public names are listed in `__all__` and imported when first used: `import foredraft` loads neither numpy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foredraft.core.errors import ForedraftError, UsageError
    from foredraft.core.events import Step, TokenLogprob
    from foredraft.core.params import SamplingParams, StructuredOutputsParams
    from foredraft.engine.conversation import Conversation
    from foredraft.engine.llm import LLM, load
    from foredraft.engine.outputs import Chunk, Completion, Output
    from foredraft.engine.stats import Stats

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "Chunk",
    "Completion",
    "Conversation",
    "ForedraftError",
    "Output",
    "SamplingParams",
    "Stats",
    "Step",
    "StructuredOutputsParams",
    "TokenLogprob",
    "UsageError",
    "load",
]

_HOMES = {
    "LLM": "engine.llm",
    "Chunk": "engine.outputs",
    "Completion": "engine.outputs",
    "Conversation": "engine.conversation",
    "ForedraftError": "core.errors",
    "Output": "engine.outputs",
    "SamplingParams": "core.params",
    "Stats": "engine.stats",
    "Step": "core.events",
    "StructuredOutputsParams": "core.params",
    "TokenLogprob": "core.events",
    "UsageError": "core.errors",
    "load": "engine.llm",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
