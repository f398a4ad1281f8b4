"""What every method of `foredraft train` shares: the options of a run, and the run itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from foredraft.core.errors import MissingExtra, UsageError

N = TypeVar("N", int, float)
VOCABULARY = 8192
Model = Annotated[str, typer.Option("-m", "--model", help="the target: known name, GGUF file, directory or hub id")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto for cuda where there is one")]
Dtype = Annotated[str, typer.Option(help="of the target's weights: float32 or bfloat16; by default as --precision")]
Minutes = Annotated[float | None, typer.Option(help="so many in all; data goes on when run again")]
Seed = Annotated[int, typer.Option(help="repeats a run")]


@dataclass(frozen=True)
class Run:
    """The options of every method."""

    texts: Annotated[Path, typer.Option("--data", help="the file that `train data` made")]
    out: Annotated[Path, typer.Option(help="a directory for what drafts, its checkpoint and its log")]
    model: Model = "smollm2"
    steps: Annotated[int, typer.Option(help="batches at most")] = 3000
    tokens: Annotated[int, typer.Option(help="of a batch, padding counted")] = 8192
    rate: Annotated[float, typer.Option(help="learning rate at its highest")] = 1e-3
    evaluate: Annotated[float, typer.Option(help="seconds between evaluations and checkpoints")] = 60.0
    minutes: Minutes = None
    seed: Seed = 0
    device: Device = "auto"
    dtype: Dtype = ""
    sharded: Annotated[bool, typer.Option("--sharded", help="under torchrun: each holds a part (FSDP2)")] = False
    kept: Annotated[bool, typer.Option("--kept", help="read the states that `train data --taps` kept")] = False
    remember: Annotated[
        float | None, typer.Option(help="gigabytes of the device for the target's states, which are computed once")
    ] = None
    precision: Annotated[
        str, typer.Option(help="of what is learnt: float32 or bfloat16; by default the latter where it is multiplied")
    ] = ""

    def opened(self, texts: Sequence[Any]) -> Any:
        """The target that these texts are of."""
        dtype = self.dtype or precision_on(self.device, self.precision)
        if self.kept and self.remember is not None:
            raise UsageError("states are read from disk or remembered: leave --kept or --remember out")
        from foredraft.train.remembered import Remembered
        from foredraft.train.taps import GIGA, Taps, folder_of

        if self.remember is not None:
            return open_target(self.model, self.device, dtype, Remembered(self.remember * GIGA))
        if not self.kept:
            return open_target(self.model, self.device, dtype)
        taps = Taps(folder_of(self.texts))
        taps.check(texts)
        return open_target(self.model, self.device, dtype, taps)

    def begun(self, recipe: Any) -> Any:
        """The recipe with the weights that it begins with."""
        return recipe

    def train(self, recipe: Callable[..., Any], settings: Any) -> int:
        """recipe: of target, texts, settings and seed."""
        from foredraft.models.fetch import file_sha256
        from foredraft.train import corpus
        from foredraft.train.processes import started
        from foredraft.train.trainer import Settings as Loop
        from foredraft.train.trainer import Trainer

        found = corpus.read(self.texts)
        if not any(not text.held_out for text in found):
            raise UsageError(f"there are no texts in {self.texts}: make some by `foredraft train data`")
        loop = Loop(
            steps=self.steps, tokens=self.tokens, rate=self.rate, minutes=self.minutes, evaluate=self.evaluate,
            seed=self.seed, precision=precision_on(self.device, self.precision),
        )  # fmt: skip
        processes, target, said = started(self.device, self.sharded), self.opened(found), corpus.speaker_of(self.texts)
        if said is not None and said.fingerprint != target.speaker.fingerprint:
            raise UsageError(
                f"the texts in {self.texts} are what {said.target} said, not {target.name}: give that model by -m, "
                "or other texts by --data"
            )
        made = self.begun(recipe(target, [text for text in found if not text.held_out], settings, self.seed))
        covered = corpus.coverage((text for text in found if text.held_out), made.says)
        told = {"texts_sha256": file_sha256(self.texts)}
        trainer = Trainer(made, found, self.out, loop, partial(print, flush=True), processes, told)
        if said is None:
            trainer.tell(f"{self.texts} does not say which model spoke: it is taken for {target.name}")
        trainer.tell(
            f"{len(found)} texts; {made.parameters / 1e6:.1f} M parameters; {covered:.1%} of responses can be said"
        )
        trainer.tell(f"mean acceptance length {trainer.run():.3f} on held-out prompts: {self.out}")
        return 0


@dataclass(frozen=True)
class HeadRun(Run):
    """Those of every head too."""

    taps: Annotated[str, typer.Option(help="layers of the target to read, as in 2,15,27; the method's by default")] = ""
    vocabulary: Annotated[
        int | None,
        typer.Option(
            help="tokens that the head may say, the commonest; 0 for all; by default 8192, or those of --begin"
        ),
    ] = None
    begin: Annotated[
        Path | None,
        typer.Option(help="a trained head of the same sizes whose weights to begin with, and whose tokens"),
    ] = None

    def begun(self, recipe: Any) -> Any:
        if self.begin is not None:
            recipe.begin_with(self.begin, own_tokens=self.vocabulary is not None)
        return recipe

    @property
    def common(self) -> dict[str, Any]:
        """What the settings of every head take from here."""
        return {
            "taps": tuple(numbers(self.taps, "taps", int)),
            "vocabulary": VOCABULARY if self.vocabulary is None else self.vocabulary,
        }


def numbers(text: str, option: str, kind: type[N]) -> list[N]:
    try:
        return [kind(one) for one in text.split(",") if one.strip()]
    except ValueError:
        raise UsageError(f"{option} are numbers joined by commas, not {text!r}") from None


def precision_on(device: str, asked: str) -> str:
    """On the device that `--device` stands for."""
    from foredraft.train.precision import precision_for
    from foredraft.train.target import has_gpu

    return precision_for("cuda" if device != "cpu" and has_gpu() else "cpu", asked)


def installed() -> None:
    if not find_spec("torch") or not find_spec("transformers"):
        raise MissingExtra("training", "train")


def open_target(model: str, device: str, dtype: str, kept: Any = None) -> Any:
    installed()
    from foredraft.train.target import TorchTarget

    return TorchTarget(model, device, dtype, kept)
