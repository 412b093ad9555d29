"""The training of one candidate, whose network may be cut or grown on the way to its target."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from typing import Any

from ado_nas.bench import Bench
from ado_nas.distillation.adaptation import Adapted, Gate, adapting, landing
from ado_nas.distillation.course import anchored
from ado_nas.distillation.matching import matched
from ado_nas.distillation.student import Lessons, distill
from ado_nas.models.inherit import inherit
from ado_nas.models.unet import UNet, build_unet
from ado_nas.specs import Candidate
from ado_nas.stature import start
from ado_nas.training.curriculum import Curriculum

HELD_BACK = 64  # trajectories that the gate judges on, a tenth of them at most


def beginning(unet: UNet, bench: Bench, candidate: Candidate, seed: int) -> Adapted:
    """The network that training begins with.

    Args:
        unet: the candidate's, with its first weights.
        bench: another one inherits from its teacher or supernet.
        candidate: says how its network is come by.
        seed: of fresh weights.

    Returns:
        The candidate's own network, or a wider or narrower one.
    """
    _, source, order = bench.source
    spec = start(candidate.unet, source.spec, candidate.distillation.adaptation)
    if spec == candidate.unet:
        return Adapted(unet)
    first = build_unet(spec, seed)
    if bench.task.inherit:
        inherit(first, source, order)
    return Adapted(first)


def course(
    adapted: Adapted,
    lessons: Lessons,
    candidate: Candidate,
    seed: int,
    teacher: UNet,
    stops: Collection[int] = (),
) -> Iterator[tuple[int, float]]:
    """Train to the end; `adapted` follows.

    Args:
        adapted: where training begins.
        lessons: what is learned; a gate keeps some trajectories for itself.
        candidate: its network is the target.
        seed: of the batches.
        teacher: whose feature maps are learned too, where the candidate says so.
        stops: iterations after which the network has its averaged weights, to be looked at.

    Yields:
        (iterations done, loss), once an iteration.
    """
    spec = candidate.distillation
    if adapted.unet.spec == candidate.unet:
        yield from _distilled(adapted.unet, lessons, candidate, seed, teacher, stops)
        return
    held_back = min(HELD_BACK, lessons.bank.states.shape[1] // 10)
    taught, judged = lessons.parted(held_back)
    gate = Gate(landing(judged))
    yield from adapting(adapted, candidate.unet, taught, spec, gate, seed, stops)


def _distilled(
    unet: UNet,
    lessons: Lessons,
    candidate: Candidate,
    seed: int,
    teacher: UNet,
    stops: Collection[int],
) -> Iterator[tuple[int, float]]:
    spec = candidate.distillation
    if not spec.feature_weight:
        several = resolutions(candidate, seed)
        return distill(unet, lessons, spec, seed, stops=stops, curriculum=several)
    both = matched(anchored(lessons, spec.batch, seed), teacher, spec.feature_weight)
    return distill(both.pupil(unet), lessons, spec, seed, both.loss, stops)


def resolutions(candidate: Candidate, seed: int = 0) -> Curriculum | None:
    """The curriculum of a candidate's training; None where it has one resolution."""
    if not candidate.curriculum:
        return None
    learned = candidate.distillation
    about = candidate.curriculum, candidate.unet, learned.iterations, learned.batch
    return Curriculum(*about, seed)


def decisions(adapted: Adapted) -> dict[str, Any]:
    """What was changed while training, as figures of a trial.

    Args:
        adapted: after training.

    Returns:
        ``changes_accepted``, ``changes_refused`` and, as JSON text, every decision with its
        numbers (``changes``); nothing where there was nothing to decide.
    """
    if not adapted.decisions:
        return {}
    accepted = sum(d.accepted for d in adapted.decisions)
    told = [dataclasses.asdict(d) for d in adapted.decisions]
    return {
        "changes_accepted": accepted,
        "changes_refused": len(told) - accepted,
        "changes": json.dumps(told),
    }
