"""`foredraft chat`: a conversation at the terminal, speed and acceptance after every answer."""

from __future__ import annotations

import sys

from rich.console import Console

from foredraft.cli.show import loading, status_line
from foredraft.core.errors import ForedraftError
from foredraft.core.params import SamplingParams
from foredraft.engine.conversation import Conversation
from foredraft.engine.llm import load
from foredraft.engine.options import Speculation

HELP = "/reset starts anew, /quit (or Ctrl-D) leaves, Ctrl-C cuts an answer short"


def talk(
    model: str, engine: str, threads: int | None, said: Speculation, params: SamplingParams, system: str | None
) -> int:
    """Reads lines until the end of input."""
    drafter = said.drafter
    with loading(model) as progress:
        llm = load(
            model,
            drafter,
            engine=engine,
            policy=said.policy,
            num_speculative_tokens=said.num_speculative_tokens,
            threads=threads,
            progress=progress,
        )
    console = Console(stderr=True, highlight=False)
    console.print(f"{llm.loaded.source.name}, {drafter}: {HELP}", style="dim", soft_wrap=True)
    with llm:
        conversation = Conversation(llm, system)
        while (line := _read()) is not None:
            if line in ("/quit", "/exit"):
                break
            if line == "/reset":
                conversation.reset()
            elif line.startswith("/"):
                console.print(HELP, style="dim")
            elif line:
                _answer(conversation, line, params, drafter, console)
        conversation.close()
    return 0


def _read() -> str | None:
    """A line from the user, None at the end; Ctrl-C at the prompt leaves as well."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return None


def _answer(conversation: Conversation, line: str, params: SamplingParams, drafter: str, console: Console) -> None:
    reply = conversation.reply(line, params)
    try:
        for chunk in reply:
            print(chunk.text, end="", flush=True)
    except KeyboardInterrupt:
        print(" …", end="")
    except ForedraftError as error:  # a turn that does not fit must not end the conversation
        console.print(str(error), style="red")
        return
    finally:
        reply.close()
    print(flush=True)
    if conversation.last is not None:
        reused = f", {conversation.cached} prompt tokens reused" if conversation.cached else ""
        line = f"[{status_line(conversation.last, drafter)}{reused}]"
        console.print(line, style="dim", markup=False, soft_wrap=True)
