"""The commands and their options; what they do is in the module of each command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from foredraft import __version__
from foredraft.cli.measuring import app as measuring
from foredraft.cli.options import (
    AllowLossy,
    Choice,
    Config,
    Debug,
    Drafter,
    DraftModel,
    Engine,
    Grammar,
    JsonSchema,
    Length,
    MaxTokens,
    MinP,
    Model,
    Policy,
    PromptFile,
    Raw,
    Regex,
    Seed,
    Stop,
    Temperature,
    Threads,
    TopK,
    TopP,
    Verifier,
)
from foredraft.cli.train import app as train

app = typer.Typer(
    name="foredraft",
    help="Speculative decoding: the same tokens, in less time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
    debug: Debug = False,
) -> None:
    if version:
        print(f"foredraft {__version__}")
        raise typer.Exit()


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="the prompt; or give -f")] = None,
    model: Model = "smollm2",
    engine: Engine = "auto",
    threads: Threads = None,
    drafter: Drafter = "auto",
    verifier: Verifier = "match",
    allow_lossy: AllowLossy = False,
    policy: Policy = "adaptive",
    num_speculative_tokens: Length = None,
    draft_model: DraftModel = None,
    speculative_config: Config = None,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    stop: Stop = None,
    json_schema: JsonSchema = None,
    regex: Regex = None,
    grammar: Grammar = None,
    choice: Choice = None,
    raw: Raw = False,
    file: PromptFile = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object instead of streamed text")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="decode plainly too; both speeds, same tokens?")] = False,
    prediction: Annotated[
        str | None,
        typer.Option(help="a file with the text that is expected back, to draft from: an edit of it is quick"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="where tokens came from and time went")] = False,
) -> int:
    """Generate text from a prompt, streamed."""
    from foredraft.cli.generate import Job
    from foredraft.cli.structured import read_text, structured
    from foredraft.core.params import SamplingParams
    from foredraft.engine.options import parse_config, speculation

    params = SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        seed=seed,
        stop=tuple(stop or ()),
        structured_outputs=structured(json_schema, regex, grammar, choice),
        prediction=read_text(prediction) if prediction is not None else None,
    )
    job = Job(
        model=model,
        engine=engine,
        threads=threads,
        speculation=speculation(
            drafter,
            config=parse_config(speculative_config),
            num_speculative_tokens=num_speculative_tokens,
            draft_model=draft_model,
            policy=policy,
        ),
        verifier=verifier,
        allow_lossy=allow_lossy,
        params=params,
        raw=raw,
        json=json,
        compare=compare,
        explain=explain,
    )
    return job.run(prompt, file)


@app.command()
def trace(
    out: Annotated[str, typer.Option(metavar="FILE.html", help="where the page goes")],
    prompt: Annotated[str | None, typer.Argument(help="the prompt; or give -f")] = None,
    model: Model = "smollm2",
    engine: Engine = "auto",
    threads: Threads = None,
    drafter: Drafter = "auto",
    verifier: Verifier = "match",
    allow_lossy: AllowLossy = False,
    policy: Policy = "adaptive",
    num_speculative_tokens: Length = None,
    draft_model: DraftModel = None,
    speculative_config: Config = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    raw: Raw = False,
    file: PromptFile = None,
) -> int:
    """A page that replays a generation: who proposed each token, what was accepted, where the time went."""
    from foredraft.cli.trace import Job
    from foredraft.core.params import SamplingParams
    from foredraft.engine.options import parse_config, speculation

    job = Job(
        model=model,
        engine=engine,
        threads=threads,
        speculation=speculation(
            drafter,
            config=parse_config(speculative_config),
            num_speculative_tokens=num_speculative_tokens,
            draft_model=draft_model,
            policy=policy,
        ),
        verifier=verifier,
        allow_lossy=allow_lossy,
        params=SamplingParams(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed
        ),
        raw=raw,
        out=out,
    )
    return job.run(prompt, file)


@app.command()
def chat(
    model: Model = "smollm2",
    engine: Engine = "auto",
    threads: Threads = None,
    drafter: Drafter = "auto",
    num_speculative_tokens: Length = None,
    draft_model: DraftModel = None,
    speculative_config: Config = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = None,
    system: Annotated[str | None, typer.Option(help="a system message")] = None,
    json_schema: JsonSchema = None,
    regex: Regex = None,
    grammar: Grammar = None,
    choice: Choice = None,
) -> int:
    """Talk to a model; the cache is kept across turns."""
    from foredraft.cli.chat import talk
    from foredraft.cli.structured import structured
    from foredraft.core.params import SamplingParams
    from foredraft.engine.options import parse_config, speculation

    wanted = structured(json_schema, regex, grammar, choice)
    params = SamplingParams(
        max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed, structured_outputs=wanted
    )
    config = parse_config(speculative_config)
    said = speculation(drafter, config=config, num_speculative_tokens=num_speculative_tokens, draft_model=draft_model)
    return talk(model, engine, threads, said, params, system)


models = typer.Typer(help="Models: what is known and on disk, fetching, facts.", invoke_without_command=True)
app.add_typer(models, name="models")
app.add_typer(measuring)
app.add_typer(train, name="train")


@models.callback()
def models_top(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        models_list()


@models.command("list")
def models_list() -> None:
    """Known models, and whether they are on disk."""
    from foredraft.cli.models import list_models

    list_models()


@models.command("pull")
def models_pull(name: Annotated[str, typer.Argument(help="a known model or a hub id")]) -> None:
    """Fetch a model and check it."""
    from foredraft.cli.models import pull

    pull(name)


@models.command("show")
def models_show(
    model: Annotated[str, typer.Argument(help="known name, path or hub id")],
    json: Annotated[bool, typer.Option("--json", help="as a JSON object")] = False,
) -> None:
    """Architecture, quantisation, bytes read per token."""
    from foredraft.cli.models import show

    show(model, json)


@app.command()
def drafters(json: Annotated[bool, typer.Option("--json", help="as a JSON array")] = False) -> None:
    """Every drafter with its needs and options."""
    from foredraft.cli.drafters import list_drafters

    list_drafters(json)


def command() -> Callable[..., Any]:
    """The whole command line as one callable."""
    return typer.main.get_command(app)
