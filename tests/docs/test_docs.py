"""The documentation says what is there: links, commands, options, modules, formulas and code blocks are checked."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import shlex
import sys
import tomllib
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from foredraft import draft
from foredraft.cli.app import app
from foredraft.core import errors
from foredraft.draft import DRAFTERS, family, line_up, specify
from foredraft.draft.family import LENGTH
from foredraft.verify import VERIFIERS, make_verifier

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "foredraft"
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
# Usage lines, not commands to type: made from the help texts, and compared with them by `make check`.
GENERATED = DOCS / "cli.md"
TYPED = [page for page in PAGES if page != GENERATED]
HEADINGS = ["Idea", "Law of a draft token", "Why exact", "Cost", "When to use", "Code", "Paper", "Measured"]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", read(page))


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(read(page)) if kind == language]


def headings(page: Path) -> list[tuple[int, str]]:
    return [(len(marks), title.strip()) for marks, title in re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)]


def anchor(title: str) -> str:
    """The anchor that Git hosts make of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def table(text: str) -> Iterator[list[str]]:
    """The cells of every table row, header rows and rules left out."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        header = index + 1 < len(lines) and lines[index + 1].startswith("|-")
        if line.startswith("|") and not line.startswith("|-") and not header:
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


# --- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        where, _, section = target.partition("#")
        found = (page.parent / where).resolve() if where else page
        assert found.exists(), f"{name(page)} links to {target}"
        if section:
            assert section in {anchor(title) for _, title in headings(found)}, f"{name(page)} links to {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(prose(page)) if not target.startswith("http"))
        waiting += [(page.parent / target).resolve() for target in targets if target]
    assert set(PAGES) <= reached


# --- commands -------------------------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[str]:
    """Everything on the page that begins with `foredraft `, comments cut off."""
    for code in blocks(page, "sh"):
        yield from (line for line in code.splitlines() if line.startswith("foredraft "))
    yield from (span for span in SPAN.findall(prose(page)) if span.startswith("foredraft "))


def parsed(line: str) -> dict[str, Any]:
    """The command's parameters. Raises for unknown commands and options; a bare command needs no arguments."""
    command, words = get_command(app), shlex.split(line, comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    if not words:
        return {}
    assert not getattr(command, "commands", {}), f"{words[0]} is no command"
    return dict(command.make_context(line, words).params)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("page", TYPED, ids=name)
def test_commands_have_the_options_they_use(page: Path) -> None:
    for line in commands(page):
        try:
            given = parsed(line)
            if given.get("drafter") is not None:
                line_up(given["drafter"])
        except Exception as error:
            pytest.fail(f"{name(page)}: {line}: {error}")
        make_verifier(given.get("verifier", "match"), allow_lossy=given.get("allow_lossy", False))


def test_commands_are_found_and_wrong_ones_refused() -> None:
    assert sum(len(list(commands(page))) for page in TYPED) > 12
    for wrong in ("foredraft generate --speed 9 hello", "foredraft dance hello"):
        with pytest.raises(Exception, match="speed|dance"):
            parsed(wrong)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        lines = [line for code in blocks(page, "sh") for line in code.splitlines()] + SPAN.findall(prose(page))
        for line in lines:
            if found := re.match(r"make ([\w-]+)", line):
                assert found[1] in targets, f"{name(page)}: {line}"


# --- algorithms -----------------------------------------------------------------------------------------------------


def page_of(drafter: str) -> str:
    """The name of a drafter's page: its own, unless a verifier has it too."""
    return f"{drafter}_drafter" if drafter in VERIFIERS else drafter


ALGORITHMS = {*map(page_of, DRAFTERS), *VERIFIERS}


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_has_a_page_with_the_same_headings(algorithm: str) -> None:
    page = DOCS / "algorithms" / f"{algorithm}.md"
    assert headings(page)[0] == (1, algorithm)
    assert [title for level, title in headings(page) if level == 2] == HEADINGS


def test_no_page_without_an_algorithm() -> None:
    assert {page.stem for page in (DOCS / "algorithms").glob("*.md")} == ALGORITHMS


@pytest.mark.parametrize("drafter", sorted(DRAFTERS))
def test_pages_of_drafters_give_options_and_defaults(drafter: str) -> None:
    found = family(drafter)
    page = DOCS / "algorithms" / f"{page_of(drafter)}.md"
    rows = {cells[0]: cells[1] for cells in table(read(page).split("## Measured")[0])}
    expected = {f"`{field.name}`": field.default for field in dataclasses.fields(found.options)}
    if expected:
        expected["`num_speculative_tokens`, `k`"] = "left to the policy"
    assert rows.keys() == expected.keys()
    for option, default in expected.items():
        if default is dataclasses.MISSING:
            assert rows[option] == "must be given"
        elif default == "":
            assert rows[option].startswith("empty")
        else:
            assert rows[option] == str(default)
    assert all(f"`{alias}`" in read(page) for alias in LENGTH)


# --- architecture ---------------------------------------------------------------------------------------------------


def modules() -> set[str]:
    """Every module with more in it than a docstring."""
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if len(ast.parse(read(path)).body) > 1 or path.name != "__init__.py"
    }


def test_architecture_has_a_line_for_every_module() -> None:
    first = [cells[0] for cells in table(read(DOCS / "architecture.md"))]
    listed = [cell.strip("`") for cell in first if cell.endswith(".py`")]
    assert len(listed) == len(set(listed))
    assert modules() - set(listed) == set(), "modules that docs/architecture.md lacks"
    assert set(listed) - modules() == set(), "modules in docs/architecture.md that do not exist"


def test_architecture_draws_the_whole_error_tree() -> None:
    (tree,) = (code for code in blocks(DOCS / "architecture.md", "") if code.startswith("ForedraftError"))
    drawn = set(re.findall(r"\b[A-Z]\w+(?:Error|Name|Extra)\b", tree))
    kinds = {one.__name__ for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)}
    assert drawn == kinds


def test_files_named_in_the_documentation_exist() -> None:
    for page in TYPED:
        for span in SPAN.findall(prose(page)):
            if re.fullmatch(r"(core|verify|policy|models|draft|engine|cli|testing|benchmarks)/\w+\.py", span):
                assert (PACKAGE / span).exists() or (ROOT / span).exists(), f"{name(page)} names {span}"


# --- formulas -------------------------------------------------------------------------------------------------------


def computed(marker: str) -> list[list[float]]:
    """The numbers of the table that follows a `<!-- computed: … -->` in idea.md."""
    after = read(DOCS / "idea.md").split(f"<!-- computed: {marker} -->", 1)[1].lstrip()
    return [[float(cell) for cell in cells] for cells in table(after.split("\n\n", 1)[0])]


CHANCES = (0.5, 0.7, 0.9)


def expected_tokens(a: float, g: float) -> float:
    return (1 - a ** (g + 1)) / (1 - a)


def test_speed_ups_follow_from_the_formula() -> None:
    rows = computed("S")
    assert len(rows) == 9
    for c, g, *factors in rows:
        assert factors == [round(expected_tokens(a, g) / (g * c + 1), 2) for a in CHANCES]


def test_operations_follow_from_the_formula() -> None:
    rows = computed("operations")
    assert len(rows) == 3
    for g, *factors in rows:
        assert factors == [round((g + 1) / expected_tokens(a, g), 2) for a in CHANCES]


# --- words ----------------------------------------------------------------------------------------------------------

TERMS = """
    target, draft, drafter, draft tree, row, law, accepted, correction, bonus, committed, taps, mean acceptance length,
    draft acceptance rate, speed-up, rules, stream, point, coupled, sampled, probe, verdict, news, step, budget,
    verifier, policy, ask, query, scores, cache, round, pass, residual, lossless, row-invariant, fault, needs, ends,
    view, tenant
"""


def test_the_glossary_has_the_words() -> None:
    entries = re.findall(r"^- \*\*([^*]+)\*\*:", read(DOCS / "glossary.md"), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert {term.strip() for term in TERMS.split(",")} <= set(entries)


# --- code blocks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", TYPED, ids=name)
def test_code_blocks_compile_and_import_what_exists(page: Path) -> None:
    for code in blocks(page, "python"):
        for node in ast.walk(compile(code, name(page), "exec", ast.PyCF_ONLY_AST)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "foredraft":
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def drafter_page() -> tuple[str, str, str, str]:
    """add_a_drafter.md's blocks: the drafter, a run of it, its conformance test, its family."""
    code, run, check, by_name = blocks(DOCS / "add_a_drafter.md", "python")
    return code, run, check, by_name


def successor() -> types.ModuleType:
    """The drafter of add_a_drafter.md as a module, with the family appended as the page says."""
    module = types.ModuleType("successor")
    code, _, _, by_name = drafter_page()
    sys.modules["successor"] = module  # dataclasses look their module up
    exec(compile(code + by_name, "successor.py", "exec"), vars(module))
    return module


SUCCESSOR = successor()
CHECKS: dict[str, Any] = {"__name__": "test_successor"}
exec(compile(drafter_page()[2], "test_successor.py", "exec"), CHECKS)


class TestSuccessor(CHECKS["TestSuccessor"]):  # type: ignore[misc]
    """The drafter of add_a_drafter.md passes the kit, by the class that the page shows."""

    max_tokens = 8  # half as long as usual: the built-in drafters run the whole of it


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package of add_a_drafter.md were installed, with its entry point."""
    [toml] = blocks(DOCS / "add_a_drafter.md", "toml")
    [(group, points)] = tomllib.loads(toml)["project"]["entry-points"].items()
    found = [EntryPoint(point, value, group) for point, value in points.items()]
    monkeypatch.setattr(draft, "entry_points", lambda *, group: [one for one in found if one.group == group])
    monkeypatch.setitem(sys.modules, "successor", SUCCESSOR)


def test_the_drafter_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run: dict[str, Any] = {}
    exec(compile(drafter_page()[1], "try_it.py", "exec"), run)
    assert run["sequence"].output == [1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "(1, 2, 3, 0, 1) accepted 4 fault None"
    assert all("fault None" in line for line in printed[:-1])


@pytest.mark.usefixtures("installed")
def test_the_drafter_of_the_page_is_known_by_name() -> None:
    assert "successor" in draft.names()
    spec = specify("successor:k=6")
    assert spec.num_speculative_tokens == 6
    assert isinstance(spec.family.build(spec.options, None), SUCCESSOR.Successor)  # type: ignore[arg-type]
