"""What one search is told: a preset, a TOML file and flags, resolved into one frozen record."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ado_nas import data
from ado_nas.data import pyramid
from ado_nas.errors import AdoNasError, ConfigError, SpecError, nearest
from ado_nas.files import read_json
from ado_nas.optimization import OptimizationSpec
from ado_nas.specs import DistillationSpec, TaskSpec, UNetSpec, from_dict
from objectives.scores import Limits
from search_spaces.candidate import build
from search_spaces.curriculum import followed
from search_spaces.space import Space, anchors
from studies.gaussian import check_installed
from studies.pruning import PRUNERS, rungs
from studies.samplers import SAMPLERS

PRESETS = Path(__file__).parent / "presets"
_MOST = 2**62  # of settings that count; seeds of 64 bits are made of the study's by adding

FLAGS: dict[str, tuple[str, ...]] = {
    "data": ("task.data.name",),
    "resolution": ("task.data.resolution", "task.teacher.unet.resolution"),
    "channels": ("task.data.channels",),
    "teacher": ("task.teacher_folder",),
    "timeout": ("timeout_s",),
    "memory_budget_mb": ("task.memory_budget_mb",),
    "max_latency_ms": ("limits.max_latency_ms",),
    "max_size_mb": ("limits.max_size_mb",),
    "max_memory_mb": ("limits.max_memory_mb",),
    "min_retention": ("limits.min_retention",),
}
"""Short names of settings; every other flag is a field, or the dotted path of one."""


@dataclass(frozen=True)
class SearchConfig:
    """Everything a search needs to know."""

    preset: str = ""
    study: str = ""  # empty: named after the preset
    task: TaskSpec = field(default_factory=TaskSpec)
    space: Space = field(default_factory=Space)
    distillation: DistillationSpec = field(default_factory=DistillationSpec)
    limits: Limits = field(default_factory=Limits)
    optimization: OptimizationSpec = field(default_factory=OptimizationSpec)  # of `optimize`
    trials: int = 24  # candidates that train, in total, also over several runs
    timeout_s: float = 0.0  # no new trial after so many seconds of one run; 0: no limit
    workers: int = 0  # 0: what trains best on this machine
    recycle: int = 20  # trials after which a worker's process is replaced; 0: never
    sampler: str = "tpe"
    startup: int = 0  # random trials at first (tpe, gp), or a generation (nsga2); 0: by `trials`
    patience: int = 60  # draws over a limit in a row before the search gives up
    pruner: str = "pareto"  # stops trials that others are far ahead of; none: all train to the end
    grace: int = 0  # iterations before trials are first compared; 0: a quarter of a training
    factor: int = 2  # from one comparison to the next, and one in so many goes on, and a tenth
    finalists: int = 3  # front members that are trained again at the end; 0: none
    finalist_seeds: int = 2  # from how many other seeds each; the search's own is not counted
    warm_start: str = ""  # a study of the same storage whose trials are carried over
    seed: int = 0
    storage: str = ""  # empty: SQLite in the workspace; else an Optuna storage URL
    artifacts: str = ""  # empty: a folder in the workspace; else a folder, or s3://BUCKET
    track: bool = True  # mirror the study to MLflow
    evaluator: str = "objectives.evaluation"  # the module that prepares and scores


def presets() -> list[str]:
    """The names that `resolve` takes."""
    return sorted(p.stem for p in PRESETS.glob("*.toml"))


def resolve(
    preset: str | None = None, file: Path | None = None, flags: Mapping[str, Any] | None = None
) -> SearchConfig:
    """Put a preset, a file and flags together; later ones win.

    Args:
        preset: its name; None takes the file's, or the one for the data, or ``digits``.
        file: TOML with fields of `SearchConfig`.
        flags: by name of `FLAGS`, field or dotted path (``task.data.seed``); None is not given.

    Returns:
        The checked config.

    Raises:
        AdoNasError: a name or key is unknown (naming the nearest), or a value cannot be used.
    """
    given = _read(file) if file else {}
    name = preset or given.get("preset") or _preset_for(given, flags or {})
    if name not in presets():
        raise ConfigError(f"no preset {name!r}; {nearest(str(name), presets())}")
    base, tables = _preset(name), _nested(flags or {})
    try:
        config = from_dict(SearchConfig, given, base)
    except AdoNasError as error:
        raise ConfigError(f"{file}: {error}") from error
    config = from_dict(SearchConfig, tables, config)
    if 0 < config.task.data.resolution != base.task.data.resolution:
        config = _resized(base, config, (given, tables))
    return check(dataclasses.replace(config, preset=name, study=config.study or name))


def _resized(
    base: SearchConfig, config: SearchConfig, given: tuple[Mapping[str, Any], ...]
) -> SearchConfig:
    """A preset at another resolution than its own: what nobody gave follows from that.

    Noise levels grow with the side, for averaging areas leaves as much signal under less noise
    (Hoogeboom et al. 2023, simple diffusion). Curricula and lower resolutions that are too small
    are left out.
    """
    task, space = config.task, config.space
    side = task.data.resolution
    ratio = side / base.task.data.resolution
    levels = task.trajectories
    follows: dict[str, Any] = {
        "task.teacher.p_mean": task.teacher.p_mean + math.log(ratio),
        "task.trajectories.sigma_min": levels.sigma_min * ratio,
        "task.trajectories.sigma_max": levels.sigma_max * ratio,
        "task.quality.resolutions": tuple(s for s in task.quality.resolutions if s < side),
        "space.curriculum": followed(space, task.teacher.unet) or space.curriculum,
    }
    fresh = {p: v for p, v in follows.items() if all(_at(t, p) is None for t in given)}
    return from_dict(SearchConfig, _nested(fresh), config)


def _at(table: Mapping[str, Any], path: str) -> Any:
    """The value of a nested table at a dotted path; None where there is none."""
    found: Any = table
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _preset(name: str) -> SearchConfig:
    """A preset; its file may name another one that it changes."""
    values = _read(PRESETS / f"{name}.toml")
    base = values.pop("preset", "")
    return from_dict(SearchConfig, values, _preset(base) if base else SearchConfig())


def _preset_for(given: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    """The preset made for the data that is asked for."""
    named = {"digits": "digits", "patches": "patches32", "shapes": "shapes16"}
    wanted = flags.get("data") or _at(given, "task.data.name") or "digits"
    return named.get(str(wanted), "folder")


def check(config: SearchConfig) -> SearchConfig:
    """Refuse what cannot be searched, before any work.

    Args:
        config: resolved.

    Returns:
        The same config.

    Raises:
        AdoNasError: a value is out of range, or the space does not fit the resolution.
    """
    for name in ("trials", "patience"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} {getattr(config, name)}: give at least 1")
    for name in ("timeout_s", "startup", "seed", "workers", "recycle", "finalists"):
        if not 0 <= getattr(config, name) < _MOST:
            raise ConfigError(f"{name} {getattr(config, name)}: give 0 or more, below 2**62")
    if config.finalist_seeds < 2:
        raise ConfigError(
            f"finalist_seeds {config.finalist_seeds}: give at least 2, for one has no spread; or "
            "finalists 0 for none"
        )
    for name, limit in dataclasses.asdict(config.limits).items():
        if limit is not None and not 0 <= limit < math.inf:
            raise ConfigError(f"{name} {limit}: give a positive number, or leave it out")
    if config.sampler not in SAMPLERS:
        raise ConfigError(f"no sampler {config.sampler!r}; {nearest(config.sampler, SAMPLERS)}")
    if config.pruner not in PRUNERS:
        raise ConfigError(f"no pruner {config.pruner!r}; {nearest(config.pruner, PRUNERS)}")
    rungs(config.distillation.iterations, config.grace, config.factor)
    if config.sampler == "gp":
        check_installed()
    if config.sampler == "nsga2" and config.startup == 1:
        raise ConfigError("startup 1: a generation of nsga2 has 2 trials or more")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", config.study):
        raise ConfigError(
            f"study {config.study!r}: use letters, digits, dots, dashes, underscores, 100 at most"
        )
    if config.task.data.resolution != config.task.teacher.unet.resolution:
        raise ConfigError(
            f"data has resolution {config.task.data.resolution} but the teacher "
            f"{config.task.teacher.unet.resolution}; make them equal (--resolution sets both)"
        )
    data.check(config.task.data)
    unet = _network(config.task)
    _check_resolutions(config, unet)
    _check_choices(config, unet)
    if max(config.space.steps) > config.task.trajectories.levels:
        raise ConfigError(
            f"space.steps {max(config.space.steps)}: students learn from trajectories of "
            f"{config.task.trajectories.levels} steps (task.trajectories.levels); give no more"
        )
    return config


def _check_choices(config: SearchConfig, unet: UNetSpec) -> None:
    """Build each choice once, for a draw that cannot be built would end the search."""
    space, about = config.space, (unet, config.distillation)
    first = {d.name: d.choices[0] for d in space.dimensions}
    for params in (first, *anchors(space)):
        build(space, params, *about)
    for dimension in space.dimensions:
        for choice in dimension.choices:
            try:
                build(space, {**first, dimension.name: choice}, *about)
            except SpecError as error:
                raise ConfigError(f"space.{dimension.name} {choice!r}: {error}") from error


def _network(task: TaskSpec) -> UNetSpec:
    """The teacher that students are made after: the one given, where it lies here."""
    if not task.teacher_folder:
        return task.teacher.unet
    from ado_nas.modelfolder import SPEC  # imports MLX

    given = read_json(Path(task.teacher_folder) / SPEC)
    return task.teacher.unet if given is None else from_dict(UNetSpec, given)


def _check_resolutions(config: SearchConfig, unet: UNetSpec) -> None:
    task, space = config.task, config.space
    for pattern in set(space.curriculum) - set(followed(space, unet)):
        raise ConfigError(
            f"space.curriculum {pattern!r}: no network of this space can be trained so at "
            f"{unet.resolution} px; leave it out"
        )
    if task.supernet.iterations:
        task.supernet.curriculum.check(unet)
    for side in task.quality.resolutions:
        pyramid.check(task.data.resolution, side)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {file} is not TOML: {error}") from error


def _nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as nested tables: ``{"task.seed": 1}`` becomes ``{"task": {"seed": 1}}``."""
    tables: dict[str, Any] = {}
    for flag, value in flags.items():
        for path in FLAGS.get(flag, (flag,)) if value is not None else ():
            table = tables
            *outer, last = path.split(".")
            for key in outer:
                table = table.setdefault(key, {})
            table[last] = value
    return tables
