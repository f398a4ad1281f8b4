"""Loading transformers models: safetensors directories and GGUF files, quietly, and only what can be scored exactly.

What is refused: pickled weights, code from the model's directory, missing tensors (transformers would make them up),
states that cannot be rolled back, and attention this backend does not compute. Architectures that the tests do not
cover must first agree with transformers' own attention on a small tree.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import transformers
from transformers.utils import logging as noise

from foredraft.core.errors import ForedraftError, UnknownName, UsageError, WeightsError
from foredraft.core.protocols import Query
from foredraft.models import hf_gguf
from foredraft.models.directories import check_directory
from foredraft.models.gguf_header import read_header
from foredraft.models.hf_cache import ATTENTION, attend
from foredraft.models.hf_config import PROVEN, REMEDY, check_config
from foredraft.models.hf_gguf_config import check_kept
from foredraft.models.hf_modules import Body, FewRowLinear

if TYPE_CHECKING:
    from foredraft.models.hf import HFModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
# The documented way to bring an attention function along; it is found by name in a model's configuration.
transformers.AttentionInterface.register(ATTENTION, attend)


def load(path: Path, kind: Literal["gguf", "hf"], *, device: str, dtype: str, threads: int | None) -> Any:
    """The transformers model, its weights in `dtype` on `device`. Raises WeightsError and UsageError."""
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    if threads is not None:
        if threads < 1:
            raise UsageError(f"{threads} threads cannot compute anything: ask for at least 1")
        torch.set_num_threads(threads)
    try:
        with quiet():
            model, info = (_gguf if kind == "gguf" else _directory)(path, DTYPES[dtype])
    except ForedraftError:
        raise
    except Exception as error:  # whatever a broken file makes transformers and safetensors raise
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise WeightsError(f"{path.name} could not be loaded ({reason}): check the file or fetch it again") from error
    lost = sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])})
    if lost:
        raise WeightsError(f"{path.name} lacks {len(lost)} tensors, such as {lost[0]}: fetch it again, whole")
    if dropped := _dropped(model, info["unexpected_keys"]):
        raise WeightsError(f"{path.name} has a tensor {dropped[0]} that its settings leave out: check its config.json")
    return placed(model, device, dtype)


def placed(model: Any, device: str, dtype: str) -> Any:
    """The model on `device`, its weights in `dtype`. Raises UsageError for a device that is not there."""
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    try:
        return model.to(_device(device), DTYPES[dtype]).eval()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA fails an assertion
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"the model cannot be put on device {device!r} ({reason}): choose cpu") from error


def _dropped(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Tensors that belong to modules of the model, such as biases. Whole parts more than it has are another matter."""
    modules = {
        name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
    }
    prefix = f"{model.base_model_prefix}."  # which files of the decoder alone leave out
    owners = modules | {name.removeprefix(prefix) for name in modules}
    return sorted(name for name in map(str, unexpected) if name.rpartition(".")[0] in owners)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _directory(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    check_directory(path)
    config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    check_config(config, path.name)
    return transformers.AutoModelForCausalLM.from_pretrained(  # type: ignore[no-any-return]
        path,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )


def _gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """By our own reader where it knows the architecture, in seconds; else by transformers', in a minute."""
    read = hf_gguf.read(path)
    if read is None:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=dtype, local_files_only=True, output_loading_info=True
        )
        check_kept(read_header(path), model)
        return model, info
    check_config(read.config, path.name)
    with torch.device("meta"):
        blank = transformers.AutoModelForCausalLM.from_config(read.config)
    model, info = type(blank).from_pretrained(
        None, config=read.config, state_dict=read.tensors(blank, dtype), dtype=dtype, output_loading_info=True
    )
    for buffer, factors in read.frequencies(model):
        buffer.div_(factors)
    return model, info


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' progress bars, log lines and warnings off the terminal while it loads."""
    verbosity, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity(noise.CRITICAL)
    noise.disable_progress_bar()
    try:
        # The progress bar of its GGUF reader knows no switch and writes to whatever stderr is.
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        noise.set_verbosity(verbosity)
        if bars:
            noise.enable_progress_bar()


def prepare(model: Any, name: str) -> Body:
    """Takes a model apart and speeds up its layers for few rows. Raises WeightsError for what cannot be scored."""
    check_config(model.config, name)
    architecture = model.config.model_type
    if not type(model).is_backend_compatible() or model._is_stateful:
        raise WeightsError(f"{name} ({architecture}) keeps a state or an attention of its own: {REMEDY}")
    if model.device.type == "cpu" and model.dtype == torch.float32:
        for place, module in list(model.named_modules()):
            if type(module) is torch.nn.Linear:
                model.set_submodule(place, FewRowLinear(module))
    try:
        return Body.of(model)
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{name} ({architecture}) has a structure the hf backend does not know: {REMEDY}") from error


def true_vocabulary(body: Body, asked: int | None, name: str) -> int:
    """The tokenizer's vocabulary; WeightsError when the head has fewer rows."""
    rows = int(body.config.vocab_size)
    if asked is not None and not 0 < asked <= rows:
        raise WeightsError(f"{name} has {rows} output rows for a vocabulary of {asked}: use the tokenizer it came with")
    return asked if asked is not None else rows


@torch.inference_mode()  # type: ignore[untyped-decorator]
def verify(scored: HFModel, model: Any) -> None:
    """Switches `model` to our attention, first comparing both on a tree of two branches where tests did not.

    Raises WeightsError when they differ, or when the head, the norm and the taps do not fit together.
    """
    architecture = model.config.model_type
    if architecture in PROVEN:
        model.set_attn_implementation(ATTENTION)
        return
    stem, branches, last = (1, 2, 3), ((4, 5), (6, 7)), scored.about.layers
    paths = torch.tensor([stem + branch for branch in branches], device=model.device)
    try:
        told = model(input_ids=paths, use_cache=False).logits[:, len(stem) :, : scored.about.vocab_size]
        model.set_attn_implementation(ATTENTION)
        cache = scored.open()
        scored.score([Query(cache, stem, (-1, 0, 1))])
        cache.keep(range(len(stem)))
        [scores] = scored.score([Query(cache, (4, 5, 6, 7), (-1, 0, -1, 2), (0, 1, 2, 3), taps=(last,))])
        found = np.stack([scores.logits(row) for row in range(4)])
        again = scored.head(scores.taps(last))
    except (NotImplementedError, AttributeError, TypeError, KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{scored.about.name} ({architecture}) does not run on the hf backend: {REMEDY}") from error
    expected = told.reshape(4, -1).float().cpu().numpy()
    allowed = (0.1 if model.dtype in (torch.float16, torch.bfloat16) else 1e-3) * float(expected.std())
    if max(np.abs(found - expected).max(), np.abs(again - expected).max()) > allowed:
        raise WeightsError(f"{scored.about.name} ({architecture}) scores draft trees wrongly: {REMEDY}")
