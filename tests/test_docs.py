"""What README and help texts promise is what the command line takes."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

import cli
from benchmarks.quoted import table
from studies.config import resolve

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ado_nas", "search_spaces", "objectives", "studies", "reports", "benchmarks", "docs")
BRITISH = re.compile(
    r"\b(grey|(dis|en)?colour|favour|behaviour|neighbour|licence|judgement|artefact|fulfil\b"
    r"|distils?\b|cent(re|red)\b|catalogue|programme\b|learnt|whilst|(label|model|cancel|travel)l(ed|ing)"
    r"|(optim|normal|initial|general|minim|maxim|real|organ|summar|parametr|quant|visual)is(e|ed|es"
    r"|ing|ation)\b|analys(e|ed|ing)\b)",
    re.IGNORECASE,
)
LINE = re.compile(r"(?:uv run )?(?:python cli\.py|ado-nas)((?: [^\n`|#]*)?)")


def commands(group: Any = None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command by its words."""
    group = group or typer.main.get_command(cli.app)
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, (*path, name))
        else:
            found[(*path, name)] = command
    return found


def lines_of(text: str) -> list[list[str]]:
    """The words after ``cli.py`` of each command line in a text."""
    joined = text.replace("\\\n", " ")
    found = [shlex.split(match[1]) for match in LINE.finditer(joined)]
    return [words for words in found if words]


def parse(words: list[str]) -> None:
    """Parse a command line as Typer would, without running it."""
    known = commands()
    if words == ["--help"]:
        return
    path = next((p for p in known if tuple(words[: len(p)]) == p), None)
    assert path is not None, f"no such command: {' '.join(words)}"
    rest = words[len(path) :]
    if rest != ["--help"]:
        known[path].make_context(" ".join(path), rest, resilient_parsing=False)


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_command_has_help_and_an_example_that_parses(path: tuple[str, ...]) -> None:
    text = commands()[path].help
    assert "Example: python cli.py " + " ".join(path) in text
    lines = lines_of(text)
    assert lines
    for words in lines:
        parse(words)


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    for parameter in commands()[path].params:
        assert getattr(parameter, "help", "x"), f"{parameter.name} has no help"


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_command_appears_in_the_readme(path: tuple[str, ...]) -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"\b" + r"[ `|]+".join(map(re.escape, path)) + r"\b", readme)


def test_command_lines_of_the_readme_parse() -> None:
    lines = lines_of((ROOT / "README.md").read_text())
    assert lines
    for words in lines:
        parse(words)


def test_settings_of_the_readme_are_taken(tmp_path: Path) -> None:
    found = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    for text in found:
        (tmp_path / "given.toml").write_text(text)
        resolve(None, tmp_path / "given.toml", {})


def test_extras_of_the_readme_are_those_that_there_are() -> None:
    text = (ROOT / "README.md").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (line,) = re.findall(r"Extras are installed by name.*?\)", text, re.DOTALL)
    named = re.findall(r"--extra (\w+)", line) + re.findall(r"`(\w+)`", line)
    assert sorted(named) == sorted(extras)


def test_figures_of_the_readme_are_those_of_the_results() -> None:
    assert table() in (ROOT / "README.md").read_text()


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", (ROOT / "README.md").read_text())
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_spelling_is_american() -> None:
    files = [ROOT / "cli.py", *ROOT.glob("*.md")]
    for package in PACKAGES:
        for kind in ("py", "md", "toml", "js", "css", "html"):
            files += (ROOT / package).rglob(f"*.{kind}")
    assert len(files) > 200
    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for match in BRITISH.finditer(line)
    ]
    assert found == []
