"""The plain loop: Optuna around a training function, as somebody would write it by hand.

The default sampler, one process, and students from fresh weights that are taught online, each
to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.samplers import TPESampler
from optuna.study import MaxTrialsCallback
from optuna.trial import Trial, TrialState

from ado_nas.bench import Bench, open_bench
from ado_nas.errors import Diverged
from ado_nas.measure.cost import cost
from ado_nas.measure.speed import latency
from ado_nas.modelfolder import Model
from ado_nas.reference import pictured
from ado_nas.specs import DistillationSpec, TaskSpec
from benchmarks.online import learned, save_student
from search_spaces.candidate import draw
from search_spaces.space import Space, anchors
from studies.processes import Channel

DIVERGED, RETRY = "diverged", "retry_of"  # attributes of trials


@dataclass(frozen=True)
class Plan:
    """What a plain loop is told."""

    task: TaskSpec  # whose students inherit nothing
    space: Space
    distillation: DistillationSpec
    trials: int
    seed: int


def run_plain(
    channel: Channel, plan: Plan, workspace: Path, place: Path
) -> list[tuple[float, str]]:
    """Be the process of a plain loop, from the start or from where it was left.

    Args:
        channel: to whoever started it.
        plan: what is searched.
        workspace: its cache holds teacher and feature network.
        place: the loop's own folder.

    Returns:
        Of each scored trial when it ended, in seconds since 1970, and its model folder.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bench = open_bench(plan.task, workspace)
    study = _study(plan, place)

    def objective(trial: Trial) -> tuple[float, float, float]:
        channel.progress("plain loop", trial.number, plan.trials)
        try:
            return _trial(bench, plan, trial, place / str(trial.number), channel)
        except Diverged:
            trial.set_user_attr(DIVERGED, True)
            raise

    scored = (TrialState.COMPLETE,)
    enough = MaxTrialsCallback(plan.trials, states=scored)
    if len(study.get_trials(states=scored)) < plan.trials:
        # Whoever diverges is not counted, within reason.
        study.optimize(objective, 2 * plan.trials, catch=(Diverged,), callbacks=[enough])
    return [
        (t.datetime_complete.timestamp(), str(place / str(t.number)))
        for t in study.get_trials(states=scored)
        if t.datetime_complete
    ]


def _study(plan: Plan, place: Path) -> optuna.Study:
    place.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{place / 'plain.db'}"
    study = optuna.create_study(
        storage=storage, study_name="plain", directions=["minimize"] * 3, load_if_exists=True
    )
    # The default one, from a seed; a loop that goes on must not repeat its first draws.
    study.sampler = TPESampler(seed=plan.seed * 1_000_003 + len(study.trials))
    for params in anchors(plan.space):
        study.enqueue_trial(params, skip_if_exists=True)
    _retry(study)
    return study


def _retry(study: optuna.Study) -> None:
    """Enqueue again what was stopped, or died with its process."""
    retried = {t.user_attrs.get(RETRY) for t in study.trials}
    for trial in study.get_trials(states=(TrialState.RUNNING, TrialState.FAIL)):
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if DIVERGED not in trial.user_attrs and trial.number not in retried:
            params = trial.system_attrs.get("fixed_params", trial.params)
            study.enqueue_trial(params, user_attrs={RETRY: trial.number})


def _trial(
    bench: Bench, plan: Plan, trial: Trial, folder: Path, channel: Channel
) -> tuple[float, float, float]:
    """Gap, latency in ms and size in MB of one candidate."""
    candidate = draw(plan.space, trial, bench.teacher.unet.spec, plan.distillation)

    def told(iteration: int, scores: dict[str, float]) -> bool:
        channel.progress("plain student", iteration, plan.distillation.iterations)
        return False

    model = learned(bench, candidate, plan.seed, told)
    gap = bench.judge.gap(pictured(bench, model.unet, model.sampler, model.levels))
    found = {"gap": gap, "latency_ms": _latency(bench, model)}
    found["size_mb"] = cost(candidate.unet).size_mb
    save_student(folder, candidate, model, found)
    return found["gap"], found["latency_ms"], found["size_mb"]


def _latency(bench: Bench, model: Model) -> float:
    size = bench.task.latency_batch
    return latency(model, model.sampler.solver, model.levels, 1.0, size).median_ms
