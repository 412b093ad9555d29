"""Results of single rows made one: ``python -m benchmarks.NAME RESULT... > JOINED``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ado_nas.errors import AdoNasError

Joined = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


def main(joined: Joined, names: Sequence[str]) -> None:
    """Print the results of some files as one; exit code 2 and one line where that cannot be."""
    if not names:
        sys.exit(_refused("give the files of the results to join"))
    try:
        found = joined([json.loads(Path(name).read_text()) for name in names])
    except OSError as error:
        sys.exit(_refused(f"{error.filename}: {error.strerror}"))
    except (ValueError, KeyError, TypeError, AdoNasError) as error:
        sys.exit(_refused(f"not to be joined: {error}"))
    print(json.dumps(found, indent=2))


def _refused(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 2
