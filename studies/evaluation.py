"""The evaluation module by its name, and the processes that prepare with it and measure again.

Optuna is not imported here: these processes do without, and start sooner.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

from ado_nas.specs import Candidate, TaskSpec
from objectives.scores import EvaluationModule
from studies.processes import Channel


def evaluation_module(name: str) -> EvaluationModule:
    """The module that prepares and scores, by its dotted path."""
    return cast(EvaluationModule, importlib.import_module(name))


def run_preparation(
    channel: Channel, evaluator: str, task: TaskSpec, workspace: Path
) -> dict[str, object]:
    """Be the process that builds teacher, trajectories and judge; returns the study's facts."""
    return evaluation_module(evaluator).prepare(task, workspace, channel.progress)


def run_plan(channel: Channel, candidate: Candidate, budget_mb: float) -> None:
    """Be the process that plans the training of a candidate.

    Raises:
        OutOfMemory: not even one image at a time fits; says what would.
    """
    from ado_nas.training.plan import plan

    plan(candidate.unet, candidate.distillation.batch, int(budget_mb * 1e6))


def run_survey(channel: Channel, evaluator: str) -> dict[str, object]:
    """Be the process that looks at this machine; returns what its figures are recorded with."""
    return evaluation_module(evaluator).surroundings()


def run_remeasurement(
    channel: Channel,
    evaluator: str,
    task: TaskSpec,
    workspace: Path,
    folders: list[Path],
    facts: dict[str, Any],
) -> list[dict[str, object]]:
    """Be the process that scores the front again; returns one entry a folder."""
    module = evaluation_module(evaluator)
    return module.remeasure(task, workspace, folders, channel.progress, facts)
