"""What cannot be joined is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ado_nas.errors import ConfigError
from benchmarks.joining import main


def joined(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(results) > 2:
        raise ConfigError("too many")
    return {"rows": [row for one in results for row in one["rows"]]}


def test_results_are_read_and_printed_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        (tmp_path / f"{i}.json").write_text(json.dumps({"rows": [i]}))
    main(joined, [str(tmp_path / f"{i}.json") for i in range(2)])
    assert json.loads(capsys.readouterr().out) == {"rows": [0, 1]}


@pytest.mark.parametrize(
    ("content", "times", "said"),
    [
        (None, 0, "give the files"),
        (None, 1, "No such file"),
        ("not JSON", 1, "not to be joined"),
        ("{}", 1, "not to be joined: 'rows'"),
        ('{"rows": []}', 3, "not to be joined: too many"),
    ],
)
def test_what_cannot_be_joined_is_said_in_one_line(
    content: str | None,
    times: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "row.json"
    if content is not None:
        place.write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(joined, [str(place)] * times)
    told = capsys.readouterr()
    assert ended.value.code == 2 and not told.out
    assert told.err.count("\n") == 1 and said in told.err
