from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ado_nas.errors import ConfigError
from reports import charts
from reports.page import write_report
from reports.stills import still
from studies.record import StudyRecord

MakeStudy = Callable[..., StudyRecord]


@pytest.mark.slow
def test_every_figure_of_the_page_is_written_twice(make_study: MakeStudy, tmp_path: Path) -> None:
    record = make_study()
    paths = write_report(record, tmp_path / "report", tmp_path / "ado-runs", tmp_path / "figures")
    names = {path.stem for path in paths.figures}
    page = paths.html.read_text(encoding="utf-8")
    assert page.count('class="plot"') == len(names) > 5
    assert all(f'id="plot-{name}"' in page for name in names)
    for path in paths.figures:
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert ElementTree.fromstring(text).tag.endswith("svg")
        else:
            with Image.open(path) as image:
                assert min(image.size) > 300
    assert len(paths.figures) == 2 * len(names)
    assert "Latency, ms per image (log)" in (tmp_path / "figures/latency.svg").read_text()


def test_points_lie_where_the_page_has_them(make_study: MakeStudy) -> None:
    view = charts.pareto_charts(make_study())[0]
    drawn = still(view).axes[0]
    lines = [line.get_xydata().tolist() for line in drawn.lines]
    for trace in view.figure["data"]:
        if trace["x"] and trace.get("yaxis", "y") == "y":
            points = [list(p) for p in zip(trace["x"], trace["y"], strict=True)]
            assert any(points == line for line in lines)
    assert drawn.get_xscale() == "log"


def test_names_that_were_typed_are_no_formulas(make_study: MakeStudy, tmp_path: Path) -> None:
    record = make_study(scores=30)
    bad = r"$\frac{1}{ <i>&"
    trials = tuple(
        dataclasses.replace(t, params={bad: str(t.params.get("width")), "steps": 1 + t.number % 2})
        for t in record.trials
    )
    record = dataclasses.replace(record, trials=trials)
    paths = write_report(record, tmp_path / "report", tmp_path / "ado-runs", tmp_path / "figures")
    effects = next(p for p in paths.figures if p.name == "effects.svg")
    text = " ".join(ElementTree.fromstring(effects.read_text(encoding="utf-8")).itertext())
    assert r"$\frac{1}{ <i>&" in text


@pytest.mark.parametrize("scores", [0, 1])
def test_a_study_with_little_has_few_figures(
    make_study: MakeStudy, tmp_path: Path, scores: int
) -> None:
    record = make_study(scores=scores, stops=2)
    paths = write_report(record, tmp_path / "report", tmp_path / "ado-runs", tmp_path / "figures")
    assert {p.stem for p in paths.figures} >= {"latency", "size"}


@pytest.mark.parametrize("name", ["taken", "taken/below", "/proc/figures"])
def test_figures_that_cannot_be_written_are_refused_before_the_report_is(
    make_study: MakeStudy, tmp_path: Path, name: str
) -> None:
    (tmp_path / "taken").write_text("kept")
    with pytest.raises(ConfigError, match=r"^--figures .* cannot be written \("):
        write_report(make_study(), tmp_path / "report", tmp_path / "ado-runs", tmp_path / name)
    assert not (tmp_path / "report").exists()
    assert (tmp_path / "taken").read_text() == "kept"
