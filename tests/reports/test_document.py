from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.document import SCHEMA_VERSION, document, schema, write_json
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
HANDLED = {
    "$schema", "$defs", "$ref", "title", "description", "type", "required", "properties", "items",
    "additionalProperties", "const", "enum", "anyOf", "minimum", "minItems", "maxItems",
}  # fmt: skip


def faults(value: Any, rule: Any, root: dict[str, Any], where: str = "$") -> list[str]:
    """What breaks a JSON Schema, for the keywords that ours uses and no others."""
    if isinstance(rule, bool):
        return [] if rule else [f"{where} is not allowed"]
    assert set(rule) <= HANDLED, set(rule) - HANDLED
    if "$ref" in rule:
        return faults(value, root["$defs"][rule["$ref"].rsplit("/", 1)[1]], root, where)
    if "anyOf" in rule:
        tried = [faults(value, option, root, where) for option in rule["anyOf"]]
        return [] if [] in tried else tried[0]
    names = rule.get("type", [])
    names = [names] if isinstance(names, str) else names
    fits = [isinstance(value, TYPES[n]) and (n == "boolean" or value is not True) for n in names]
    if names and not any(fits):
        return [f"{where} is {value!r}, not {names}"]
    found = [f"{where} is not {rule['const']}"] if rule.get("const", value) != value else []
    found += (
        [f"{where} is not one of {rule['enum']}"] if value not in rule.get("enum", [value]) else []
    )
    if isinstance(value, dict):
        found += [f"{where}.{k} is missing" for k in rule.get("required", []) if k not in value]
        known, other = rule.get("properties", {}), rule.get("additionalProperties", True)
        for key, inner in value.items():
            found += faults(inner, known.get(key, other), root, f"{where}.{key}")
    if isinstance(value, list):
        short, long = rule.get("minItems", 0), rule.get("maxItems", math.inf)
        found += [] if short <= len(value) <= long else [f"{where} has {len(value)} items"]
        for index, inner in enumerate(value):
            found += faults(inner, rule.get("items", True), root, f"{where}[{index}]")
    if isinstance(value, (int, float)) and value < rule.get("minimum", -math.inf):
        found.append(f"{where} is below {rule['minimum']}")
    return found


def test_document_fits_its_schema_when_whole_or_empty(
    make_study: MakeStudy, without_trials: Callable[..., StudyRecord], tmp_path: Path
) -> None:
    record = make_study()
    stopped = tuple(t for t in record.trials if "gap" not in t.values)
    for study in (record, without_trials(record), without_trials(record, stopped)):
        read = json.loads(write_json(study, tmp_path / "report.json").read_text())
        assert faults(read, schema(), schema()) == []
        assert read["schema_version"] == SCHEMA_VERSION
        assert [t["number"] for t in read["trials"]] == [t.number for t in study.trials]


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_trials", -1), ("states", {}), ("front", [{}]), ("schema_version", 2), ("new", 1)],
)
def test_schema_refuses_a_document_that_was_changed(
    make_study: MakeStudy, key: str, value: Any
) -> None:
    changed = json.loads(json.dumps(document(make_study()))) | {key: value}
    assert faults(changed, schema(), schema())


def test_document_is_strict_json_when_a_figure_is_not_finite(make_study: MakeStudy) -> None:
    record = make_study()
    trial = dataclasses.replace(record.trials[0], attributes={"loss": math.nan, "p": Path("a")})
    changed = dataclasses.replace(record, trials=(trial, *record.trials[1:]), hypervolume=math.inf)
    written = document(changed)
    json.dumps(written, allow_nan=False)
    assert written["trials"][0]["attributes"] == {"loss": None, "p": "a"}
    assert written["hypervolume"] is None


def test_written_text_keeps_names_of_any_script(make_study: MakeStudy, tmp_path: Path) -> None:
    path = write_json(make_study(name="模型 é"), tmp_path / "report.json")
    assert json.loads(path.read_text(encoding="utf-8"))["study"] == "模型 é"
