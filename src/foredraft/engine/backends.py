"""From a model's name to a model: where the weights are, which engine runs them, which tokenizer belongs to them.

Also finds what a drafter needs (a second model, the target's ends, a view of its layers) and refuses, before anything
runs, what the target cannot give or what does not fit its vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.heads import Head
from foredraft.core.protocols import AnyDrafter, Model, Needs, Thrift
from foredraft.draft import Lineup, Spec
from foredraft.draft.family import Provided
from foredraft.engine.heads import load_head
from foredraft.engine.shipped import shipped_head
from foredraft.engine.threads import available_threads
from foredraft.models.common_tokens import common_tokens
from foredraft.models.quantise import QUANTIZATIONS, Quantize, Reduced
from foredraft.models.sources import Progress, Source, resolve
from foredraft.models.tokenizer import Tokenizer, same_vocabulary
from foredraft.models.tokens import PlainTokens

ENGINES = ("auto", "native", "hf")
PLENTY = Thrift()


@dataclass(frozen=True)
class Loaded:
    """A model that can be talked to. says: the tokens, ascending, that a model with a draft head can say."""

    source: Source
    engine: str
    model: Model
    tokenizer: Tokenizer
    threads: int
    says: tuple[int, ...] | None = None


def load_model(
    name: str,
    *,
    engine: str = "auto",
    quantize: Quantize | None = None,
    threads: int | None = None,
    thrift: Thrift = PLENTY,
    progress: Progress | None = None,
) -> Loaded:
    """Resolves (and fetches, if it must) `name` and loads it. Raises SourceError, WeightsError or UsageError.

    quantize: int8 or int4, for the matrices of a Hugging Face directory, which the native engine then runs. thrift: for
    a model that only drafts, on the native engine.
    """
    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    if quantize not in (None, *QUANTIZATIONS):
        raise UnknownName("quantisation", str(quantize), QUANTIZATIONS)
    if quantize is not None and engine == "hf":
        raise UsageError("the hf engine does not quantise: choose --engine native, or leave quantize out")
    if thrift != PLENTY and engine == "hf":
        raise UsageError(
            "the hf engine loads draft models as they are: choose --engine native, or leave out the drafter's "
            "quantize and head"
        )
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    source = resolve(name, progress)
    tokenizer = Tokenizer.from_source(source)
    count = threads if threads is not None else available_threads()
    reduced = _reduced(thrift, tokenizer) if thrift != PLENTY else None
    chosen, model = _model(source, engine, quantize, tokenizer.size, count, reduced)
    return Loaded(source, chosen, model, tokenizer, count, reduced.says if reduced is not None else None)


def _reduced(thrift: Thrift, tokenizer: Tokenizer) -> Reduced:
    if thrift.quantize is not None and thrift.quantize not in QUANTIZATIONS:
        raise UnknownName("quantisation", thrift.quantize, QUANTIZATIONS)
    says = None
    if 0 < thrift.head < tokenizer.size:
        says = common_tokens(tokenizer, thrift.head, thrift.head_text)
    return Reduced(thrift.quantize, says)


def _model(
    source: Source, engine: str, quantize: Quantize | None, vocab_size: int, threads: int, reduced: Reduced | None
) -> tuple[str, Model]:
    """The model on the engine asked for.

    By default GGUF files run natively where the engine computes them, and directories where they are to be quantised
    or there is no torch.
    """
    must = engine == "native" or quantize is not None or reduced is not None or not find_spec("torch")
    if engine != "hf" and (must or source.kind == "gguf"):
        from foredraft.models.native import NativeModel, Unsupported

        try:
            return "native", NativeModel.load(
                source.path, quantize=quantize, reduced=reduced, threads=threads, vocab_size=vocab_size
            )
        except Unsupported:
            if must:
                raise
    from foredraft.models.hf import HFModel  # heavy: torch is imported only when a model is to run on it

    return "hf", HFModel.load(source.path, source.kind, vocab_size=vocab_size, threads=threads)


@dataclass(frozen=True)
class Drafting:
    """Drafters by name, ready for a target, and the models and heads that were loaded for them."""

    drafters: Mapping[str, AnyDrafter]
    models: tuple[Loaded, ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def needs_taps(self) -> bool:
        """Whether one of them wants hidden states of the target, the prompt's included."""
        return any(drafter.needs.taps for drafter in self.drafters.values())

    def close(self) -> None:
        for loaded in self.models:
            loaded.model.close()
        for head in self.heads:
            head.close()


def make_drafting(lineup: Lineup, target: Loaded, progress: Progress | None = None) -> Drafting:
    """Builds the drafters. Raises UsageError when the target lacks an ability or vocabularies differ."""
    drafters: dict[str, AnyDrafter] = {}
    models, heads = list[Loaded](), list[Head]()
    if shipped_head(target.model) is not None:
        lineup = lineup.with_trained()
    try:
        for spec in lineup.specs:
            drafters[spec.family.name] = _make_drafter(spec, target, models, heads, progress)
    except BaseException:
        Drafting({}, tuple(models), tuple(heads)).close()
        raise
    return Drafting(drafters, tuple(models), tuple(heads))


def _make_drafter(
    spec: Spec, target: Loaded, models: list[Loaded], heads: list[Head], progress: Progress | None
) -> AnyDrafter:
    """One drafter; a second model or a head that it needs is added to `models` or `heads`."""
    needs = spec.needs
    _check_abilities(spec.family.name, needs, target.model)
    second = None
    if needs.model is not None:
        second = load_model(
            needs.model, engine=target.engine, threads=target.threads, thrift=needs.thrift, progress=progress
        )
        models.append(second)
        difference = None if needs.other_vocabulary else same_vocabulary(target.tokenizer, second.tokenizer)
        if difference is not None:
            raise UsageError(
                f"{needs.model!r} cannot draft for {target.source.name!r}: {difference}; "
                "choose a draft model of the same family, or drafter translate"
            )
    head = None
    if needs.head is not None:
        head = load_head(needs.head, target.model, method=spec.family.name, threads=target.threads, thrift=needs.thrift)
        heads.append(head)
    provided = Provided(
        head=head,
        model=second.model if second is not None else None,
        ends=target.model if needs.ends else None,
        view=target.model.view(needs.view(target.model.about.layers)) if needs.layers else None,
        tokenizer=PlainTokens(target.tokenizer) if needs.tokenizer else None,
        second_tokenizer=PlainTokens(second.tokenizer) if needs.tokenizer and second is not None else None,
        says=np.array(second.says) if second is not None and second.says is not None else None,
    )
    return spec.family.build(spec.options, provided)


def given_drafting(drafter: AnyDrafter, target: Loaded) -> Drafting:
    """A drafter made by the caller, models and all. Raises UsageError when the target lacks an ability it needs."""
    _check_abilities(type(drafter).__name__, drafter.needs, target.model)
    return Drafting({type(drafter).__name__: drafter})


def _check_abilities(name: str, needs: Needs, model: Model) -> None:
    trained = needs.head is not None
    wanted = {"taps": trained or bool(needs.taps), "ends": trained or needs.ends, "layers": bool(needs.layers)}
    lacking = [ability for ability, asked in wanted.items() if asked and ability not in model.abilities]
    if lacking:
        raise UsageError(
            f"drafter {name!r} needs {lacking[0]} of the target, which {model.about.name!r} "
            "does not offer: choose another drafter or engine"
        )
    count = model.about.layers
    outside = [layer for layer in needs.taps if not 0 <= layer <= count]
    outside += [layer for layer in needs.view(count) if not 0 <= layer < count]
    if outside:
        raise UsageError(
            f"drafter {name!r} needs layer {outside[0]} of a target that has {count}: choose another drafter or target"
        )
