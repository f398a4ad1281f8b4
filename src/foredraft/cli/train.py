"""`foredraft train`: texts from the target itself, then a drafter for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial, wraps
from importlib.util import find_spec
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from foredraft.cli.train_run import Device, HeadRun, Minutes, Model, Run, Seed, installed, numbers, open_target
from foredraft.core.errors import UsageError

app = typer.Typer(
    name="train",
    help="Train a drafter for a target: first the texts (data), then a method.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Heads = Annotated[int, typer.Option(help="heads, each of which drafts one token")]
Own = Annotated[bool, typer.Option("--own-projection", help="each head has a projection to the vocabulary of its own")]
Hidden = Annotated[int, typer.Option(help="width of its hidden layer; twice the target's width by default")]
Hard = Annotated[float, typer.Option(help="share of the loss that looks at the next token alone")]


@app.command()
def data(
    out: Annotated[Path, typer.Option(help="a file of JSON lines, which grows")],
    model: Model = "smollm2",
    prompts: Annotated[Path | None, typer.Option(help="a file of JSON lines: id, task, turns")] = None,
    against: Annotated[list[Path] | None, typer.Option(help="benchmark prompts that must not be met")] = None,
    invent: Annotated[int, typer.Option(help="prompts that the target makes up itself")] = 0,
    openings: Annotated[Path | None, typer.Option(help="a file of lines that invented prompts begin with")] = None,
    max_invented: Annotated[int, typer.Option(help="tokens of an invented prompt after its opening")] = 96,
    max_tokens: Annotated[int, typer.Option(help="of a response")] = 192,
    max_prompt: Annotated[int, typer.Option(help="tokens of a prompt; longer ones are left out")] = 512,
    temperatures: Annotated[str, typer.Option(help="each prompt is answered once at each")] = "0",
    batch: Annotated[int, typer.Option(help="texts written down together; by torch, computed together")] = 64,
    limit: Annotated[int | None, typer.Option(help="prompts of the file at most")] = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="of the weights on a GPU; bfloat16 when not given")] = "",
    taps: Annotated[bool, typer.Option("--taps", help="keep the engine's hidden states too, in OUT.taps")] = False,
    layers: Annotated[str, typer.Option(help="after which of its layers, as in 2,15,27; the methods' by default")] = "",
    disk: Annotated[float, typer.Option(help="gigabytes that hidden states may take")] = 10.0,
) -> int:
    """The target answers prompts, its own too; what it says is what a drafter learns. On a CPU it answers on the native
    engine, many texts in a pass; on a GPU with torch.
    """
    from foredraft.train import corpus
    from foredraft.train.data import Plan, make, read_openings
    from foredraft.train.lock import alone
    from foredraft.train.taps import GIGA, Keeping, folder_of

    if prompts is None and not invent:
        raise UsageError("there is nothing to answer: give --prompts FILE, --invent N, or both")
    warmth = tuple(numbers(temperatures, "temperatures", float))
    begun = read_openings(openings) if openings is not None else ()
    plan = Plan(
        prompts,
        out,
        against=tuple(against or ()),
        invented=invent,
        most=max_tokens,
        longest=max_prompt,
        temperatures=warmth,
        batch=batch,
        limit=limit,
        minutes=minutes,
        seed=seed,
        openings=begun,
        longest_invented=max_invented,
    )
    if layers and not taps:
        raise UsageError("layers are those whose hidden states are kept: write --taps too")
    with alone(out), closing(_answers(model, device, dtype)) as answers:
        if not taps:
            print(f"{make(answers, plan)} texts in {out}")
            return 0
        tapped = Keeping(_engine(answers), folder_of(out), tuple(numbers(layers, "layers", int)), disk * GIGA)
        deadline = None if minutes is None else time.monotonic() + minutes * 60
        print(f"{make(answers, plan, expect=lambda tokens: tapped.expect(tokens, print, 'at most '))} texts in {out}")
        print(f"hidden states of {tapped.keep(corpus.read(out), deadline=deadline)} texts in {tapped.folder}")
    return 0


def method(train: Callable[..., int]) -> Callable[..., int]:
    """A command of the options of its run (the class of its first parameter) and, first, those of its own."""
    (_, run), *rest = signature(train, eval_str=True).parameters.items()
    kind, own = run.annotation, dict(rest)
    shared = signature(kind, eval_str=True).parameters

    @wraps(train)
    def command(**given: Any) -> int:
        installed()
        return train(kind(**{name: given.pop(name) for name in shared}), **given)

    options = [one.replace(kind=one.KEYWORD_ONLY) for one in {**own, **shared}.values()]
    command.__signature__ = Signature(options, return_annotation=int)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in options} | {"return": int}
    del command.__wrapped__
    app.command()(command)
    return command


@method
def block(
    run: HeadRun,
    layers: Annotated[int, typer.Option(help="layers of the head")] = 1,
    hidden: Annotated[int, typer.Option(help="width of its hidden layer; twice the target's width by default")] = 0,
    size: Annotated[int, typer.Option("--block", help="tokens drafted in one pass")] = 6,
    rank: Annotated[int, typer.Option(help="of the table of pairs of tokens")] = 64,
    hard: Hard = 0.5,
) -> int:
    """A block head: a whole block of drafts in one pass (docs/algorithms/block_drafter.md)."""
    from foredraft.train.block import BlockRecipe, Settings

    own = Settings(layers=layers, hidden=hidden, block=size, rank=rank, hard=hard, **run.common)
    return run.train(BlockRecipe, own)


@method
def medusa(
    run: HeadRun,
    heads: Heads = 4,
    layers: Annotated[int, typer.Option(help="residual blocks of a head")] = 1,
    own: Own = False,
    hard: Hard = 1.0,
    joint: Annotated[bool, typer.Option("--joint", help="Medusa-2: trains the target too, into OUT/target")] = False,
) -> int:
    """Medusa heads: each guesses one place further from the target's last state (docs/algorithms/medusa.md)."""
    from foredraft.train.joint import JointRecipe
    from foredraft.train.medusa import MedusaRecipe, Settings

    recipe = partial(JointRecipe, out=run.out / "target") if joint else MedusaRecipe
    return run.train(recipe, Settings(block=heads, layers=layers, own=own, hard=hard, **run.common))


@method
def hydra(
    run: HeadRun,
    plus: Annotated[bool, typer.Option("--plus", help="Hydra++: 4 blocks, a layer of attention, whole laws")] = False,
    heads: Heads = 4,
    layers: Annotated[int | None, typer.Option(help="residual blocks of a head; 1, or with --plus 4")] = None,
    hidden: Annotated[int, typer.Option(help="of the layer of attention; twice the target's width by default")] = 0,
    own: Own = False,
    hard: Annotated[float | None, typer.Option(help="as for block; 1, or with --plus 0")] = None,
) -> int:
    """Hydra heads: as medusa, and each reads the tokens drafted before it (docs/algorithms/hydra.md)."""
    from foredraft.train.hydra import PLUS, HydraRecipe, Settings

    given = {"layers": layers, "hard": hard}
    chosen: dict[str, Any] = PLUS if plus else {}
    chosen = chosen | {name: value for name, value in given.items() if value is not None}
    return run.train(HydraRecipe, Settings(block=heads, hidden=hidden, own=own, **chosen, **run.common))


@method
def mtp(
    run: HeadRun,
    heads: Heads = 3,
    hidden: Annotated[int, typer.Option(help="width of a head's hidden layer; the target's by default")] = 0,
    hard: Hard = 1.0,
) -> int:
    """Parallel multi-token prediction: each head one layer on the target's trunk (docs/algorithms/mtp.md)."""
    from foredraft.train.mtp import MTPRecipe, Settings

    return run.train(MTPRecipe, Settings(block=heads, hidden=hidden, hard=hard, **run.common))


@method
def eagle(
    run: HeadRun,
    hidden: Hidden = 0,
    size: Annotated[int, typer.Option("--block", help="tokens of the chains that training is judged by")] = 5,
    noise: Annotated[float, typer.Option(help="the most that is added to a feature it reads")] = 0.1,
    law: Annotated[float, typer.Option(help="what the cross entropy weighs beside the features")] = 0.1,
) -> int:
    """EAGLE: one layer continues the target's last hidden states (docs/algorithms/eagle.md)."""
    from foredraft.train.eagle import EagleRecipe, Settings

    return run.train(EagleRecipe, Settings(hidden=hidden, block=size, noise=noise, law=law, **run.common))


@method
def eagle3(
    run: HeadRun,
    hidden: Hidden = 0,
    size: Annotated[int, typer.Option("--block", help="steps of the training-time test")] = 7,
    hard: Hard = 0.0,
) -> int:
    """EAGLE-3: three layers of the target fused, trained as it drafts (docs/algorithms/eagle3.md)."""
    from foredraft.train.eagle3 import Eagle3Recipe, Settings

    return run.train(Eagle3Recipe, Settings(hidden=hidden, block=size, hard=hard, **run.common))


@method
def mtp_sequential(
    run: HeadRun,
    hidden: Hidden = 0,
    size: Annotated[int, typer.Option("--block", help="tokens drafted one after another")] = 4,
    modules: Annotated[int, typer.Option(help="1 for all tokens (FastMTP), or one for each (DeepSeek-V3)")] = 1,
    decay: Annotated[float, typer.Option(help="what a token weighs beside the one before; 0 for the paper's")] = 0.0,
    hard: Hard = 1.0,
) -> int:
    """Multi-token prediction one token after another (docs/algorithms/mtp_sequential.md)."""
    from foredraft.train.mtp_sequential import SequentialRecipe, Settings

    own = Settings(hidden=hidden, block=size, modules=modules, decay=decay, hard=hard, **run.common)
    return run.train(SequentialRecipe, own)


@method
def distill(
    run: Run,
    student: Annotated[
        str, typer.Option(help="LAYERSxWIDTH, layers of the target as in 0,9,19,29, or a model")
    ] = "4x192",
    divergence: Annotated[str, typer.Option(help="between the two laws (docs/distill.md)")] = "forward-kl",
    on_policy: Annotated[float, typer.Option(help="share of the batches that the student writes itself")] = 0.0,
    size: Annotated[int, typer.Option("--block", help="tokens of the chains that training is judged by")] = 4,
    hard: Annotated[float, typer.Option(help="share of the loss that looks at the likeliest token alone")] = 0.0,
    vocabulary: Annotated[
        int, typer.Option(help="tokens over which laws are compared, the commonest; others by a sample; 0 for all")
    ] = 0,
) -> int:
    """A small model with the target's vocabulary, for `--drafter model:OUT/...` (docs/distill.md)."""
    from foredraft.train.distill import Settings, distilled

    return run.train(distilled, Settings(student, divergence, on_policy, hard, size, vocabulary))


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


@app.command()
def successors(
    texts: Annotated[Path, typer.Option("--data", help="the file that `train data` made")],
    out: Annotated[Path, typer.Option(help="the file of the table")],
    model: Model = "smollm2",
    contexts: Annotated[int, typer.Option(help="kept, those met most often")] = 40000,
    width: Annotated[int, typer.Option(help="successors kept of a context")] = 6,
) -> int:
    """What followed what in the target's texts, for `--drafter recycling:file=OUT` to begin with; takes seconds."""
    from foredraft.models.sources import resolve
    from foredraft.models.tokenizer import Tokenizer
    from foredraft.train.successors import make

    tokenizer = Tokenizer.from_source(resolve(model))
    rows = make(texts, tokenizer, out, target=model, contexts=contexts, width=width)
    print(f"{rows} contexts, {out.stat().st_size / 1e6:.1f} MB in {out}")
    return 0


def _answers(model: str, device: str, dtype: str) -> Any:
    """Who answers: torch where there is a GPU, else the engine that serves."""
    if device == "cpu" or (device == "auto" and not _has_gpu()):
        if dtype:
            raise UsageError("on a CPU texts are said by the engine, with the weights as they are: leave --dtype out")
        from foredraft.train.answers import EngineAnswers

        return EngineAnswers(model)
    return open_target(model, device, dtype or "bfloat16")


def _has_gpu() -> bool:
    if not find_spec("torch") or not find_spec("transformers"):
        return False
    from foredraft.train.target import has_gpu

    return has_gpu()


def _engine(answers: Any) -> Any:
    """The model that answers. Raises UsageError for one that is not served."""
    from foredraft.train.answers import EngineAnswers

    if not isinstance(answers, EngineAnswers):
        raise UsageError("hidden states are kept as the engine has them: write --device cpu, or leave --taps out")
    return answers.model
