"""Two runs with one --out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foredraft.core.errors import ForedraftError, UsageError
from foredraft.train.lock import alone

HOLDS = """
import sys
from pathlib import Path
from foredraft.train.lock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_and_a_killed_one_gives_it_free(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=r"another run is writing to .*run: wait"), alone(out):
            pass
        with alone(out.with_name("other")):
            pass
        other.kill()
    with alone(out):
        pass
    with alone(out):
        pass


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ForedraftError, match="cannot be written to"), alone(tmp_path / "file" / "run"):
        pass
