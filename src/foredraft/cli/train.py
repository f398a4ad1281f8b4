"""`foredraft train`: texts from the target itself, then a drafter for it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from foredraft.core.errors import MissingExtra, UsageError

app = typer.Typer(
    name="train",
    help="Train a drafter for a target: first the texts (data), then a method.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Model = Annotated[str, typer.Option("-m", "--model", help="the target: known name, GGUF file, directory or hub id")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto for cuda where there is one")]
Dtype = Annotated[str, typer.Option(help="of the target's weights: float32 or bfloat16")]
Minutes = Annotated[float | None, typer.Option(help="so many in all; data goes on when run again")]
Seed = Annotated[int, typer.Option(help="repeats a run")]


@app.command()
def data(
    out: Annotated[Path, typer.Option(help="a file of JSON lines, which grows")],
    model: Model = "smollm2",
    prompts: Annotated[Path | None, typer.Option(help="a file of JSON lines: id, task, turns")] = None,
    against: Annotated[list[Path] | None, typer.Option(help="benchmark prompts that must not be met")] = None,
    invent: Annotated[int, typer.Option(help="prompts that the target makes up itself")] = 0,
    max_tokens: Annotated[int, typer.Option(help="of a response")] = 192,
    max_prompt: Annotated[int, typer.Option(help="tokens of a prompt; longer ones are left out")] = 512,
    temperatures: Annotated[str, typer.Option(help="each prompt is answered once at each")] = "0",
    batch: Annotated[int, typer.Option(help="texts at a time")] = 64,
    limit: Annotated[int | None, typer.Option(help="prompts of the file at most")] = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "bfloat16",
) -> int:
    """The target answers prompts, its own too; what it says is what a drafter learns."""
    _installed()
    from foredraft.train.data import Plan, make

    if prompts is None and not invent:
        raise UsageError("there is nothing to answer: give --prompts FILE, --invent N, or both")
    warmth = tuple(_numbers(temperatures, "temperatures"))
    plan = Plan(prompts, out, tuple(against or ()), invent, max_tokens, max_prompt, warmth, batch, limit, minutes, seed)
    print(f"{make(_target(model, device, dtype), plan)} texts in {out}")
    return 0


@app.command()
def block(
    texts: Annotated[Path, typer.Option("--data", help="the file that `train data` made")],
    out: Annotated[Path, typer.Option(help="a directory for the head, its checkpoint and its log")],
    model: Model = "smollm2",
    taps: Annotated[str, typer.Option(help="layers of the target to read, as in 2,15,27; three by default")] = "",
    layers: Annotated[int, typer.Option(help="layers of the head")] = 1,
    hidden: Annotated[int, typer.Option(help="width of its hidden layer; twice the target's width by default")] = 0,
    size: Annotated[int, typer.Option("--block", help="tokens drafted in one pass")] = 6,
    rank: Annotated[int, typer.Option(help="of the table of pairs of tokens")] = 64,
    vocabulary: Annotated[int, typer.Option(help="tokens that the head may say, the commonest")] = 8192,
    hard: Annotated[float, typer.Option(help="share of the loss that looks at the next token alone")] = 0.5,
    steps: Annotated[int, typer.Option(help="batches at most")] = 3000,
    tokens: Annotated[int, typer.Option(help="of a batch, padding counted")] = 8192,
    rate: Annotated[float, typer.Option(help="learning rate at its highest")] = 1e-3,
    evaluate: Annotated[float, typer.Option(help="seconds between evaluations and checkpoints")] = 60.0,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "bfloat16",
) -> int:
    """A block head: a whole block of drafts in one pass (docs/algorithms/block_drafter.md)."""
    _installed()
    from foredraft.train import corpus
    from foredraft.train.block import BlockRecipe, Settings
    from foredraft.train.trainer import Settings as Loop
    from foredraft.train.trainer import Trainer

    found = corpus.read(texts)
    if not any(not text.held_out for text in found):
        raise UsageError(f"there are no texts in {texts}: make some by `foredraft train data`")
    chosen = tuple(int(tap) for tap in _numbers(taps, "taps"))
    settings = Settings(chosen, layers, hidden, size, rank, vocabulary, hard)
    loop = Loop(steps=steps, tokens=tokens, rate=rate, minutes=minutes, evaluate=evaluate, seed=seed)
    target = _target(model, device, dtype)
    recipe = BlockRecipe(target, [text for text in found if not text.held_out], settings, seed)
    covered = corpus.coverage((text for text in found if text.held_out), recipe.says)
    print(f"{len(found)} texts; {recipe.parameters / 1e6:.1f} M parameters; {covered:.1%} of responses can be said")
    best = Trainer(recipe, found, out, loop).run()
    print(f"mean acceptance length {best:.3f} on held-out prompts: {out / 'head.safetensors'}")
    return 0


@app.command()
def pack(
    head: Annotated[Path, typer.Argument(help="a trained head")],
    out: Annotated[Path, typer.Argument(help="where to write it, with matrices in int8")],
) -> int:
    """A trained head with its matrices in int8, a quarter of the size."""
    from foredraft.heads.files import read_head, write_head

    config, tensors = read_head(head)
    write_head(out, config, tensors, int8=True)
    print(f"{out.stat().st_size / 1e6:.1f} MB in {out}")
    return 0


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",") if one.strip()]
    except ValueError:
        raise UsageError(f"{option} are numbers joined by commas, not {text!r}") from None


def _installed() -> None:
    if not find_spec("torch") or not find_spec("transformers"):
        raise MissingExtra("training", "train")


def _target(model: str, device: str, dtype: str) -> Any:
    _installed()
    from foredraft.train.target import TorchTarget

    return TorchTarget(model, device, dtype)
