"""The commands that measure and prove, and their options; what they do is in the module of each command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from foredraft.cli.given import given
from foredraft.cli.options import (
    AllowLossy,
    ApiKey,
    Concurrency,
    Config,
    DraftModel,
    Engine,
    Length,
    MaxTokens,
    Model,
    Policy,
    Suite,
    Temperature,
    Threads,
    Timeout,
    Url,
    Verifier,
)

app = typer.Typer()


@app.command()
def cost(
    model: Model = "smollm2",
    engine: Engine = "auto",
    threads: Threads = None,
    rows: Annotated[str, typer.Option(help="rows of the passes to time")] = "1,2,4,8,16",
    context: Annotated[int, typer.Option(help="tokens in the cache before each pass")] = 256,
    passes: Annotated[int | None, typer.Option(help="passes of every kind; 30 when not given")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="5 passes of every kind: a first look")] = False,
    shape: Annotated[str, typer.Option(help="rows as chain, as random tree, or both")] = "both",
    explain: Annotated[
        bool, typer.Option("--explain", help="what bounds a pass, what theory makes of it, what limits a drafter now")
    ] = False,
    drafter: Annotated[str | None, typer.Option(help="with --explain: whom to try; auto when not given")] = None,
    suite: Annotated[str | None, typer.Option(help="with --explain: builtin, or a file of prompts to try")] = None,
    prompts: Annotated[int | None, typer.Option(help="with --explain: how many prompts; 3 when not given")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="with --explain: tokens for each prompt; 64 when not given")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="as a JSON object")] = False,
) -> int:
    """What a pass of several rows costs here, against the speed of memory."""
    from foredraft.cli.cost import Job, trying_of

    trying = trying_of(explain, drafter, suite, prompts, max_tokens)
    return Job(model, engine, threads, rows, context, passes, shape, quick, json, trying).run()


@app.command()
def bench(
    context: typer.Context,
    model: Model = "smollm2",
    engine: Engine = "auto",
    threads: Threads = None,
    drafters: Annotated[
        str, typer.Option(help="which to compare, as in lookup,lookup:n=4,branches=2; all for every one that can run")
    ] = "auto",
    verifier: Verifier = "match",
    allow_lossy: AllowLossy = False,
    policy: Policy = "adaptive",
    num_speculative_tokens: Length = None,
    draft_model: DraftModel = None,
    speculative_config: Config = None,
    suite: Suite = "builtin",
    limit_per_task: Annotated[int | None, typer.Option(help="prompts of every task; all when not given")] = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    seed: Annotated[int, typer.Option(help="each prompt has its own seed, made from this one and its id")] = 0,
    raw: Annotated[bool, typer.Option("--raw", help="no chat template: continue the prompts as they stand")] = False,
    aa: Annotated[bool, typer.Option("--aa", help="plain decoding against itself too: how much is noise")] = False,
    warm: Annotated[bool, typer.Option("--warm", help="drafters keep what other prompts taught; else cold")] = False,
    sweep: Annotated[
        str | None, typer.Option(help="an option and its values, as in num_speculative_tokens=0..12 or n=2,3,4")
    ] = None,
    out: Annotated[str | None, typer.Option(help="folder for the raw steps; the same command goes on there")] = None,
    url: Url = None,
    concurrency: Concurrency = "1",
    api_key: ApiKey = None,
    timeout: Timeout = 60,
    json: Annotated[bool, typer.Option("--json", help="the last line is one JSON object, in place of tables")] = False,
) -> int:
    """Drafters against plain decoding, prompt by prompt; with --url, any server as it is."""
    typed = given(context, url)
    if url is not None:
        from foredraft.cli.bench_url import Job as UrlJob

        name = model if "model" in typed else None
        asked = (suite, limit_per_task, max_tokens, temperature, seed, raw, out, json, tuple(sys.argv[1:]))
        return UrlJob(url, name, concurrency, api_key, timeout, *asked).run()
    from foredraft.cli.bench import Job
    from foredraft.engine.options import parse_config

    job = Job(
        model=model,
        engine=engine,
        threads=threads,
        drafters=drafters,
        verifier=verifier,
        allow_lossy=allow_lossy,
        policy=policy,
        num_speculative_tokens=num_speculative_tokens,
        draft_model=draft_model,
        config=parse_config(speculative_config),
        suite=suite,
        limit_per_task=limit_per_task,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        raw=raw,
        aa=aa,
        warm=warm,
        sweep=sweep,
        out=out,
        json=json,
        arguments=tuple(sys.argv[1:]),
    )
    return job.run()


@app.command()
def simulate(
    folder: Annotated[str, typer.Argument(help="what `foredraft bench --out` wrote")],
    drafter: Annotated[
        str | None, typer.Option(help="which of the run's, as written there; every one that can be replayed otherwise")
    ] = None,
    num_speculative_tokens: Annotated[
        str | None, typer.Option(help="tokens drafted a round at most, as in 2,4,8: the size of the tree")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="of a draft at most, whatever the size of the tree")] = None,
    sources: Annotated[
        str | None, typer.Option(help="who may draft, first come first served, as in suffix,recycling; else all")
    ] = None,
    drafting: Annotated[float, typer.Option(help="what drafts cost, in what they cost when recorded")] = 1.0,
    acceptance: Annotated[
        str | None, typer.Option(help="rates by depth, as in 0.8,0.7: what a drafter so good would bring")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="as a JSON object")] = False,
) -> int:
    """What another setting would have brought in a recorded benchmark."""
    from foredraft.cli.simulate import Job

    return Job(folder, drafter, num_speculative_tokens, depth, sources, drafting, acceptance, json).run()


@app.command()
def audit(
    model: Model = "smollm2",
    engine: Engine = "auto",
    threads: Threads = None,
    drafters: Annotated[
        str | None, typer.Option(help="which to compare with plain decoding; every one that can run when not given")
    ] = None,
    suite: Suite = "builtin",
    quick: Annotated[bool, typer.Option("--quick", help="less of everything: under a minute")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="no chat template: continue the prompts as they stand")] = False,
    out: Annotated[str | None, typer.Option(help="folder for the cases; the same command goes on there")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object in place of the page")] = False,
) -> int:
    """Prove that speculation changes nothing here: exit status 1 where it does."""
    from foredraft.cli.audit import Job

    return Job(model, engine, threads, drafters, suite, quick, raw, out, json).run()


@app.command()
def report(
    folders: Annotated[list[str], typer.Argument(metavar="DIR", help="folders that `foredraft bench --out` wrote")],
    out: Annotated[str | None, typer.Option(help="the page; DIR/report.html when not given")] = None,
) -> None:
    """A benchmark as one self-contained page, with plots."""
    from foredraft.cli.report import write_report

    write_report(folders, out)
