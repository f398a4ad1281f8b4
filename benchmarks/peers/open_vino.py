"""OpenVINO GenAI, in an environment of its own that is made when first needed, so that it disturbs no other package.

It reads the same GGUF file, in a preview that knows llama and qwen. Run as a module, this is a process of it.
"""

from __future__ import annotations

import subprocess
import tempfile
import venv
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from peers.peer import PLAIN, Answer, Given, Peer, PeerError
from peers.worker import Call, Worker, WorkerError, serve

PACKAGE = "openvino-genai>=2026.4"
LENGTHS = (3, 5, 10)
LOOKUP, DRAFTED = "prompt-lookup", "draft-model"
BACKENDS = ("PA", "SDPA")  # paged attention, which speculation needs, and the plain one


class OpenVino(Peer):
    name = "OpenVINO GenAI"
    shared = True

    def __init__(self, given: Given) -> None:
        self._given = given
        self._workers: dict[str, Worker] = {}

    @cached_property
    def _python(self) -> Path:
        """The environment's interpreter. Raises PeerError where it cannot be made."""
        folder = self._given.cache / "openvino"
        python = folder / "bin" / "python"
        if _version(python):
            return python
        venv.EnvBuilder(with_pip=True).create(folder)
        done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", PACKAGE], capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise PeerError(f"pip cannot install {PACKAGE}: {' '.join(last)[-200:]}")
        return python

    @property
    def about(self) -> Mapping[str, Any]:
        precision = "the file's weights in its own integer types, activations bf16 or int8, keys and values int8"
        return {"version": _version(self._python), "precision": precision}

    @property
    def ways(self) -> dict[str, tuple[str, ...]]:
        found = {
            PLAIN: tuple(f"{backend} {PLAIN}" for backend in BACKENDS),
            LOOKUP: tuple(f"PA {LOOKUP} {length}" for length in LENGTHS),
        }
        drafted = {DRAFTED: tuple(f"PA {DRAFTED} {length}" for length in LENGTHS[:2])}
        return found | (drafted if self._given.draft is not None else {})

    def start(self, variants: Sequence[str]) -> None:
        for key in dict.fromkeys(_pipeline(variant) for variant in variants):
            if key in self._workers:
                continue
            given = self._given
            log = Path(tempfile.gettempdir()) / f"foredraft-openvino-{key.replace(' ', '-')}.log"
            worker = self._workers[key] = Worker(self._python, "peers.open_vino", log=log)
            backend, way = key.split(" ")
            draft = str(given.draft) if way == DRAFTED else None
            _called(
                worker,
                model=str(given.model),
                draft=draft,
                lookup=way == LOOKUP,
                backend=backend,
                threads=given.threads,
                ends=given.ends,
            )

    def complete(self, variant: str, ids: Sequence[int], count: int) -> Answer:
        _, _, *length = variant.split(" ")
        found = _called(self._workers[_pipeline(variant)], ids=list(ids), count=count, length=int(*length))
        return Answer(tuple(found["tokens"]), found["seconds"], found["first"])

    def stop(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def _pipeline(variant: str) -> str:
    """What has to be loaded for a variant: all but the length of a draft is settled then."""
    return " ".join(variant.split(" ")[:2])


def _version(python: Path) -> str | None:
    """Of the package in that environment; None where it is not there."""
    asks = "import importlib.metadata as m; print(m.version('openvino-genai'))"
    try:
        done = subprocess.run([str(python), "-c", asks], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _called(worker: Worker, **call: Any) -> Call:
    try:
        return worker.call(**call)
    except WorkerError as error:
        raise PeerError(str(error)) from None


# --- the other side ---------------------------------------------------------------------------------------------------


def main() -> None:
    import time

    import numpy as np
    import openvino
    import openvino_genai as genai

    pipelines: list[Any] = []
    ends: list[int] = []

    def answer(call: Call) -> Call:
        if "model" in call:
            options: Call = {"ATTENTION_BACKEND": call["backend"], "INFERENCE_NUM_THREADS": call["threads"]}
            if call["lookup"]:
                options["prompt_lookup"] = True
            if call["draft"] is not None:
                options["draft_model"] = genai.draft_model(call["draft"], "CPU")
            pipelines.append(genai.LLMPipeline(call["model"], "CPU", **options))
            ends.extend(call["ends"])
            return {}
        config = genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = call["count"]
        config.do_sample = False
        config.eos_token_id = ends[0]
        config.stop_token_ids = set(ends)  # all of which have no chance before min_new_tokens
        if call["length"]:
            config.num_assistant_tokens = call["length"]
            config.max_ngram_size = 3
        ids = np.array([call["ids"]], dtype=np.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        begun = time.perf_counter()
        found = pipelines[0].generate(inputs, config)
        seconds = time.perf_counter() - begun
        first = float(found.perf_metrics.get_ttft().mean) / 1e3
        return {"tokens": list(map(int, found.tokens[0])), "seconds": seconds, "first": first}

    serve(answer)


if __name__ == "__main__":
    main()
