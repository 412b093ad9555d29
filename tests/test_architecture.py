"""Which part may import which: dependencies point one way, and heavy libraries have one home."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "cli": {"benchmarks", "reports", "studies", "objectives", "search_spaces", "ado_nas"},
    "benchmarks": {"reports", "studies", "objectives", "search_spaces", "ado_nas"},
    "reports": {"studies", "ado_nas"},
    "studies": {"objectives", "search_spaces", "ado_nas"},
    "objectives": {"ado_nas"},
    "search_spaces": {"ado_nas"},
    "ado_nas": set(),
}
ONLY_IN = {
    "optuna": (
        "studies/",
        "reports/dashboard.py",
        "reports/annotation.py",
        "benchmarks/plainloop.py",
    ),
    "optuna_dashboard": ("reports/dashboard.py", "reports/annotation.py"),
    "mlflow": ("studies/", "ado_nas/deployment/"),
    "sqlalchemy": ("studies/",),
    "plotly": ("reports/",),
    "pandas": ("reports/",),
    "torch": ("benchmarks/", "ado_nas/interop/"),
    "gymnasium": ("ado_nas/adaptive/environment.py",),
    "stable_baselines3": ("ado_nas/adaptive/vectorized.py", "ado_nas/adaptive/ppo.py"),
    "diffusers": ("benchmarks/", "ado_nas/interop/"),
    "typer": ("cli.py",),
}
AT_THE_TOP_OF_CLI = {
    *("__future__", "collections", "dataclasses", "json", "math"),
    *("pathlib", "shutil", "signal", "sys"),
}
WITHOUT_MLX = (
    "ado_nas.errors",
    "ado_nas.specs",
    "ado_nas.stature",
    "ado_nas.progress",
    "ado_nas.files",
    "ado_nas.runtime",
    "ado_nas.measure.lock",
    "ado_nas.data",
    "objectives.scores",
    "ado_nas.hardware",
    "ado_nas.chips",
    "search_spaces.candidate",
    "search_spaces.hardware",
    "studies.config",
    "studies.search",
    "studies.record",
    "reports.page",
    "reports.summary",
    "reports.terminal",
    "reports.dashboard",
    "reports.tradeoff",
    "cli",
)


def sources() -> list[Path]:
    found = [ROOT / "cli.py"]
    for package in MAY_IMPORT.keys() - {"cli"}:
        found += (ROOT / package).rglob("*.py")
    return sorted(found)


def imports(path: Path, top_level: bool = False) -> Iterator[str]:
    """Modules a file imports; those for type checkers alone are left out."""
    tree = ast.parse(path.read_text())
    nodes = ast.iter_child_nodes(tree) if top_level else _walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layers"
            yield node.module or ""


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        test = getattr(node, "test", None)
        if isinstance(node, ast.If) and isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _walk(node)


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_package_is_in_the_layers() -> None:
    assert {layer(path) for path in sources()} == set(MAY_IMPORT)


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_dependencies_point_one_way(name: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources()
        if layer(path) == name
        for module in imports(path)
        if (to := module.split(".")[0]) in MAY_IMPORT and to not in MAY_IMPORT[name] | {name}
    ]
    assert wrong == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_imported_in_its_home_alone(library: str) -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in sources()
        if library in {m.split(".")[0] for m in imports(path)}
        and not str(path.relative_to(ROOT)).startswith(ONLY_IN[library])
    ]
    assert wrong == []


def test_command_line_imports_nothing_heavy_at_module_level() -> None:
    modules = set(imports(ROOT / "cli.py", top_level=True))
    assert modules <= AT_THE_TOP_OF_CLI | {"typing", "typer"}


def test_nothing_unpickles_or_evaluates_text() -> None:
    banned = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    wrong = []
    for path in sources():
        tree = ast.parse(path.read_text())
        calls = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if banned & set(imports(path)) or calls & {"eval", "exec"}:
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_parents_of_a_search_import_no_mlx() -> None:
    code = f"""
import importlib, json, sys
guilty = []
for name in {WITHOUT_MLX!r}:
    importlib.import_module(name)
    if "mlx.core" in sys.modules:
        guilty.append(name)
        break
print(json.dumps(guilty))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_no_module_imports_mlx_before_the_runtime_has_started() -> None:
    """A package that can be imported without `ado_nas` must not import MLX first."""
    wrong = []
    for path in sources():
        if layer(path) == "ado_nas":
            continue
        modules = list(imports(path, top_level=True))
        places = [i for i, m in enumerate(modules) if m.split(".")[0] == "mlx"]
        starts = [i for i, m in enumerate(modules) if m.split(".")[0] in MAY_IMPORT]
        if places and (not starts or min(starts) > min(places)) and not _package_starts(path):
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def _package_starts(path: Path) -> bool:
    """Whether importing the package of a file starts the runtime before the file runs."""
    package = path.parent / "__init__.py"
    return any(m.split(".")[0] == "ado_nas" for m in imports(package, top_level=True))
