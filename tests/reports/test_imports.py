from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "reports"
ALLOWED = {"reports", "studies", "ado_nas"}
OWN = ALLOWED | {"objectives", "search_spaces", "cli"}
FORBIDDEN = {"mlx", "optuna", "mlflow"}


def imported(path: Path) -> set[str]:
    """Modules that a file imports at its top level."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_reports_import_only_what_they_read_and_never_mlx() -> None:
    for path in PACKAGE.glob("*.py"):
        tops = {name.partition(".")[0] for name in imported(path)}
        assert not tops & FORBIDDEN, path
        assert tops & OWN <= ALLOWED, path
