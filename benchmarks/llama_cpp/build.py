"""Builds llama.cpp from the source package of llama-cpp-python, into a folder outside the repository.

Two builds, both for the processor they are made on: `native`, and `no-amx`, the same without AMX. Where the processor
has no AMX they are the same program, and only `native` is made. Every step can be repeated and goes on where it was
interrupted.

gcc 12 declares eight bytes of the 64 that `_tile_loadconfig` reads, and drops the stores to the rest: AMX then dies of
an illegal instruction. One line of llama.cpp is replaced by the instruction with its whole operand.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
DEFAULT_FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "foredraft" / "llama.cpp"

PATCHED = Path("ggml/src/ggml-cpu/amx/mmq.cpp")
BROKEN = "    _tile_loadconfig(&tc);\n"
FIXED = '    __asm__ volatile("ldtilecfg %0" : : "m"(*(const char (*)[64]) &tc));\n'

TARGETS = ("llama-bench", "llama-server", "llama-quantize")
OPTIONS = (
    "CMAKE_BUILD_TYPE=Release",
    "GGML_NATIVE=ON",
    "LLAMA_OPENSSL=OFF",
    "LLAMA_BUILD_UI=OFF",
    "LLAMA_USE_PREBUILT_UI=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_APP=OFF",
)
# The macros are the compiler's own; without them ggml leaves its AMX files empty.
WITHOUT_AMX = "CMAKE_CXX_FLAGS=-U__AMX_INT8__ -U__AMX_TILE__ -U__AMX_BF16__"
VARIANTS: dict[str, tuple[str, ...]] = {
    "native": (),
    "no-amx": (WITHOUT_AMX, WITHOUT_AMX.replace("CXX", "C")),
}
ROOT = Path(__file__).parents[2]
LOGITS_SOURCE = ROOT / "benchmarks" / "llama_logits.cpp"
STREAM_SOURCE = ROOT / "native" / "bench" / "stream.cpp"


class BuildError(RuntimeError):
    """A step of the build failed; the message says which and where its output is."""


@dataclass(frozen=True)
class Build:
    """One build of llama.cpp. features: what its kernels were compiled with, as llama.cpp reports it."""

    name: str
    folder: Path
    commit: str
    compiler: str
    features: tuple[str, ...]

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name

    @property
    def about(self) -> dict[str, object]:
        return {
            "name": self.name,
            "package": f"{PACKAGE} {VERSION}",
            "commit": self.commit,
            "compiler": self.compiler,
            "features": list(self.features),
        }


# --- pure -----------------------------------------------------------------------------------------------------------


def patched(source: str) -> str:
    """mmq.cpp with the broken call replaced; unchanged when it is replaced already. Raises BuildError otherwise."""
    if source.count(FIXED) == 1 and BROKEN not in source:
        return source
    if source.count(BROKEN) != 1 or FIXED in source:
        raise BuildError(
            f"{PATCHED} of {PACKAGE} {VERSION} has no single line {BROKEN.strip()!r}: look what became of it and "
            "adapt the fix in benchmarks/llama_cpp/build.py"
        )
    return source.replace(BROKEN, FIXED)


def features(system_info: str) -> tuple[str, ...]:
    """The features that are on in llama.cpp's line `CPU : SSE3 = 1 | AVX512_VNNI = 1 | …`, in its order."""
    return tuple(name for name, on in re.findall(r"(\w+) = (\d+)", system_info) if on != "0")


def variants(cpu_flags: Sequence[str]) -> tuple[str, ...]:
    """The builds worth making on a processor with these flags."""
    return ("native", "no-amx") if "amx_int8" in cpu_flags else ("native",)


def folder_name(variant: str, compiler: str, cpu_flags: Sequence[str]) -> str:
    """Names the build folder by all that goes into it: a build for one processor must not be run on another."""
    inputs = (VERSION, compiler, OPTIONS, VARIANTS[variant], FIXED, sorted(cpu_flags))
    return f"build-{variant}-{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:10]}"


# --- with effects ---------------------------------------------------------------------------------------------------


def processor_flags() -> list[str]:
    """The processor's flags as Linux lists them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])


def build(folder: Path, variant: str, jobs: int = 2) -> Build:
    """Downloads, patches, compiles, as far as that has not been done."""
    source = _source(folder)
    compiler = _output("c++", "--version").splitlines()[0]
    place = folder / folder_name(variant, compiler, processor_flags())
    place.mkdir(parents=True, exist_ok=True)
    log = place / "build.log"
    if not (place / "CMakeCache.txt").exists():
        options = [f"-D{option}" for option in (*OPTIONS, *VARIANTS[variant])]
        generator = ("-G", "Ninja") if shutil.which("ninja") else ()
        _run(log, "cmake", *generator, "-S", str(source), "-B", str(place), *options)
    _run(log, "cmake", "--build", str(place), "--parallel", str(jobs), "--target", *TARGETS)
    logits = _compile_logits(source, place, log)
    commit = _output("git", "-C", str(source), "rev-parse", "--short", "HEAD", default="unknown").strip()
    return Build(variant, place, commit, compiler, features(_output(str(logits), "--features")))


def _source(folder: Path) -> Path:
    """The patched sources."""
    source = folder / f"{PACKAGE.replace('-', '_')}-{VERSION}" / "vendor" / "llama.cpp"
    if not (source / "CMakeLists.txt").exists():
        archive = _archive(folder)
        _say(f"unpacking {archive.name}")
        with tarfile.open(archive) as packed:
            packed.extractall(folder / "unpacking", filter="data")
        (folder / "unpacking" / source.parts[-3]).rename(source.parent.parent)
    file = source / PATCHED
    text = file.read_text(encoding="utf-8")
    if (fixed := patched(text)) != text:
        file.write_text(fixed, encoding="utf-8")
        _say(f"patched {PATCHED}: {BROKEN.strip()} -> {FIXED.strip()}")
    return source


def _archive(folder: Path) -> Path:
    """The source package, fetched with pip unless it is there; its hash is checked either way."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{PACKAGE.replace('-', '_')}-{VERSION}.tar.gz"
    if not archive.exists():
        _say(f"fetching {PACKAGE} {VERSION} (76 MB)")
        fetch = ("download", "--quiet", "--no-deps", "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}")
        _run(folder / "download.log", sys.executable, "-m", "pip", *fetch, "--dest", str(folder))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise BuildError(f"{archive} has sha256 {found}, not {SHA256}: delete it and try again")
    return archive


def _compile_logits(source: Path, place: Path, log: Path) -> Path:
    """benchmarks/llama_logits.cpp, linked against the build; compiled anew when either changed."""
    program, library = place / "bin" / "llama-logits", place / "bin" / "libllama.so"
    newest = max(LOGITS_SOURCE.stat().st_mtime, library.stat().st_mtime)
    if not program.exists() or program.stat().st_mtime < newest:
        include = [f"-I{source / part}" for part in ("include", "ggml/include")]
        link = [f"-L{place / 'bin'}", "-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{place / 'bin'}"]
        _run(log, "c++", "-std=c++17", "-O2", *include, str(LOGITS_SOURCE), "-o", str(program), *link)
    return program


def compile_stream(folder: Path) -> Path:
    """The streaming reader, compiled anew when its source changed."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "stream"
    if not program.exists() or program.stat().st_mtime < STREAM_SOURCE.stat().st_mtime:
        words = ("c++", "-std=c++20", "-O3", "-pthread", str(STREAM_SOURCE), "-o", str(program))
        _run(folder / "stream.log", *words)
    return program


def _run(log: Path, *command: str) -> None:
    """Runs a step with its output appended to `log`. Raises BuildError with the end of it when the step fails."""
    _say(f"{' '.join(command[:4])} … (output: {log})")
    try:
        with log.open("a", encoding="utf-8") as out:
            subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=True)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed: building llama.cpp needs cmake and a C++ compiler") from None
    except subprocess.CalledProcessError as error:
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise BuildError(f"{command[0]} failed with status {error.returncode}, see {log}:\n{end}") from None


def _output(*command: str, default: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    if default is None:
        raise BuildError(f"{command[0]} failed with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return default


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
