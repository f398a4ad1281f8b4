"""Options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Option("-m", "--model", help="known name, GGUF file, Hugging Face directory or hub id")]
Engine = Annotated[str, typer.Option(help="what runs the model: auto, native or hf")]
Threads = Annotated[int | None, typer.Option(help="threads; by default as many as the process may use")]
Drafter = Annotated[str, typer.Option(help="how to guess, as `foredraft drafters` lists; none for plain decoding")]
Verifier = Annotated[
    str,
    typer.Option(
        help="how guesses are checked: match, recursive, specinfer, sequoia, block, traversal or kseq; lossy: typical "
        "or relaxed, each with optional :option=value,…"
    ),
]
AllowLossy = Annotated[bool, typer.Option("--allow-lossy", help="also a verifier that changes what the model says")]
Policy = Annotated[
    str,
    typer.Option(
        help="how much is drafted: adaptive; to study beside it, constant, heuristic, confidence, cumulative, adaedl "
        "or bandit, each with an optional :VALUE"
    ),
]
Length = Annotated[
    int | None, typer.Option("--num-speculative-tokens", help="tokens drafted a round at most; else the policy decides")
]
DraftModel = Annotated[
    str | None, typer.Option("-md", "--draft-model", help="a second model that drafts beside the drafter")
]
Config = Annotated[
    str | None,
    typer.Option(
        "--speculative-config",
        metavar="JSON",
        help="how to draft, under the names of vLLM, Hugging Face or llama.cpp, in place of the drafter",
    ),
]
Url = Annotated[
    str | None, typer.Option(help="measure an OpenAI-compatible server at this address instead, as a user sees it")
]
Concurrency = Annotated[str, typer.Option(help="with --url: requests at a time, as in 1,2,4 or 1..4")]
ApiKey = Annotated[str | None, typer.Option(help="with --url: the server's key", envvar="FOREDRAFT_API_KEY")]
Timeout = Annotated[float, typer.Option(help="with --url: seconds without text after which a request failed")]
MaxTokens = Annotated[int, typer.Option(help="tokens to generate at most")]
Temperature = Annotated[float, typer.Option(help="0 is greedy")]
TopP = Annotated[float, typer.Option(help="keep the likeliest tokens that make up this mass")]
TopK = Annotated[int, typer.Option(help="keep the k likeliest tokens; 0 keeps all")]
MinP = Annotated[float, typer.Option(help="keep tokens at least this likely, relative to the likeliest")]
Seed = Annotated[int | None, typer.Option(help="repeats a generation; drawn and reported when not given")]
Stop = Annotated[list[str] | None, typer.Option(help="end the text here; may be given several times")]
JsonSchema = Annotated[
    str | None, typer.Option(metavar="FILE", help="the text is JSON of this schema, or of one given as {…}")
]
Regex = Annotated[str | None, typer.Option(help="the whole text matches this regular expression")]
Grammar = Annotated[str | None, typer.Option(metavar="FILE", help="the text matches this grammar, in Lark or GBNF")]
Choice = Annotated[list[str] | None, typer.Option(help="the text is one of these; may be given several times")]
Suite = Annotated[str, typer.Option(help="builtin, copy, long, humaneval, or a file of JSON lines {id, task, turns}")]
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks")]
Raw = Annotated[bool, typer.Option("--raw", help="no chat template: continue the prompt as it stands")]
PromptFile = Annotated[str | None, typer.Option("-f", "--file", help="read the prompt from a file, - for stdin")]
