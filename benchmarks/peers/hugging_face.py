"""transformers on torch: assisted generation, in processes of their own, one for each type of numbers.

It reads the same GGUF file and expands the weights to that type: nothing stays quantised, so more bytes are read.
Run as a module, this is such a process.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peers.peer import PLAIN, Answer, Given, Peer, PeerError
from peers.worker import Call, Worker, WorkerError, serve

TYPES = ("bfloat16", "float32")
LENGTHS = (3, 10)
LOOKUP, ASSISTED = "prompt-lookup", "assistant"


class HuggingFace(Peer):
    name = "transformers"
    shared = True

    def __init__(self, given: Given) -> None:
        self._given = given
        self._workers: dict[str, Worker] = {}

    @property
    def about(self) -> Mapping[str, Any]:
        try:
            versions = {package: version(package) for package in ("transformers", "torch")}
        except PackageNotFoundError as error:
            raise PeerError(f"{error.name} is not installed") from None
        return versions | {"precision": "the file's weights expanded to the type that is named, which all else has too"}

    @property
    def ways(self) -> dict[str, tuple[str, ...]]:
        assisted = {ASSISTED: tuple(f"{dtype} {ASSISTED}" for dtype in TYPES)} if self._given.draft else {}
        lookup = tuple(f"{dtype} {LOOKUP} {length}" for dtype in TYPES for length in LENGTHS)
        return {PLAIN: tuple(f"{dtype} {PLAIN}" for dtype in TYPES), LOOKUP: lookup, **assisted}

    def start(self, variants: Sequence[str]) -> None:
        for variant in variants:
            dtype = variant.partition(" ")[0]
            if dtype in self._workers:
                continue
            given = self._given
            log = Path(tempfile.gettempdir()) / f"foredraft-transformers-{dtype}.log"
            worker = self._workers[dtype] = Worker(sys.executable, "peers.hugging_face", log=log)
            draft = str(given.draft) if given.draft is not None else None
            setup = {"model": str(given.model), "draft": draft, "dtype": dtype, "threads": given.threads}
            _called(worker, **setup, ends=given.ends)

    def complete(self, variant: str, ids: Sequence[int], count: int) -> Answer:
        dtype, way, *length = variant.split(" ")
        found = _called(self._workers[dtype], ids=list(ids), count=count, way=way, length=int(*length))
        return Answer(tuple(found["tokens"]), found["seconds"], found["first"])

    def stop(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def _called(worker: Worker, **call: Any) -> Call:
    try:
        return worker.call(**call)
    except WorkerError as error:
        raise PeerError(str(error)) from None


# --- the other side ---------------------------------------------------------------------------------------------------


def main() -> None:
    import time

    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.generation.streamers import BaseStreamer

    class Clock(BaseStreamer):  # type: ignore[misc]
        """When tokens come; the prompt comes first."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: object) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    models: dict[str, Any] = {}
    ends: list[int] = []

    def load(file: str, dtype: str) -> Any:
        path = Path(file)
        kind = getattr(torch, dtype)
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=kind).eval()
        model.generation_config = GenerationConfig()  # the file's own could sample
        return model

    def answer(call: Call) -> Call:
        if "model" in call:
            torch.set_num_threads(call["threads"])
            ends.extend(call["ends"])
            models["target"] = load(call["model"], call["dtype"])
            if call["draft"] is not None:
                models["draft"] = load(call["draft"], call["dtype"])
            return {}
        extra = {PLAIN: {}, LOOKUP: {"prompt_lookup_num_tokens": call["length"]}, ASSISTED: {}}[call["way"]]
        if call["way"] == ASSISTED:
            extra["assistant_model"] = models["draft"]
        ids, count = torch.tensor([call["ids"]]), call["count"]
        clock = Clock()
        asked = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "eos_token_id": ends}
        with torch.inference_mode():
            begun = time.perf_counter()
            found = models["target"].generate(
                ids, attention_mask=torch.ones_like(ids), pad_token_id=ends[0], streamer=clock, **asked, **extra
            )
            seconds = time.perf_counter() - begun
        return {"tokens": found[0, ids.shape[1] :].tolist(), "seconds": seconds, "first": clock.times[1] - begun}

    serve(answer)


if __name__ == "__main__":
    main()
