"""How long a network will take to sample, before it is built: operators timed once and summed up.

The table of operators is measured on this device and kept; a few whole networks calibrate the sum,
and a study's own timings refine it.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from ado_nas import runtime
from ado_nas.device import environment
from ado_nas.diffusion.sampling import splits
from ado_nas.files import building, read_json, write_json
from ado_nas.measure import lock
from ado_nas.measure.operators import Operator, operators, runner
from ado_nas.progress import Progress, silent
from ado_nas.specs import UNetSpec, digest

SCHEMA = 1
FILE = "operators.json"
NEIGHBORS = 4
LEAST = 4  # networks, for the error to be known
_SHARED = 0.65  # of the time on one stream, where two share a batch; fitted to 28 networks
_PULL = 0.3  # against a weight of 1 for each network
_SMALL = 0.05  # of an evaluation is there whatever its operators
_EVALUATIONS = 5
_PASSES = 2  # over all operators: a machine is slow for a while at a time
_SPAN_MS = 4.0  # of one timed evaluation: several calls where one is shorter
_SURROUNDINGS = ("device", "architecture", "mlx", "cores", "blas", "runtime", "dtype")

_log = logging.getLogger(__name__)
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Timed:
    """A network and what sampling it took: `steps` evaluations, milliseconds per image."""

    unet: UNetSpec
    steps: int
    latency_ms: float


@dataclass(frozen=True)
class Line:
    """Milliseconds of an evaluation: `scale` times the sum of its operators, and `fixed`."""

    scale: float = 1.0
    fixed: float = 0.0

    def __call__(self, total: float) -> float:
        """Milliseconds of an evaluation whose operators take `total` one by one."""
        return self.scale * total + self.fixed


@dataclass(frozen=True)
class Predictor:
    """Latency of sampling at one batch size.

    `times` are milliseconds by operator for the whole batch on one stream. `whole` says what an
    evaluation takes on one stream, `split` where the batch is split over the streams. `error` is
    the typical relative error on networks it was not fitted to, `bound` the one that nine in ten
    stay under.
    """

    batch: int
    times: dict[Operator, float]
    whole: Line = Line()
    split: Line = Line(_SHARED)
    error: float = math.inf
    bound: float = math.inf

    def total(self, unet: UNetSpec) -> float:
        """Milliseconds of a network's operators one by one, for one evaluation of the batch."""
        return sum(count * self.time(o) for o, count in operators(unet).items())

    def predict(self, unet: UNetSpec, steps: int) -> float:
        """Milliseconds per image of sampling with `steps` evaluations."""
        line = self.split if splits(unet, self.batch) else self.whole
        return steps * line(self.total(unet)) / self.batch

    def time(self, operator: Operator) -> float:
        """Milliseconds of one operator; between measured shapes, from the nearest of its kind."""
        known = self.times.get(operator)
        return known if known is not None else self._between(operator)

    def _between(self, operator: Operator) -> float:
        alike = [o for o in self.times if o.kind == operator.kind]
        if not alike:
            return max(_expected(operator, self.batch), 0.0)
        places = np.log([_place(o) for o in alike])
        distance = np.abs(places - np.log(_place(operator))).sum(1)
        nearest = np.argsort(distance, kind="stable")[:NEIGHBORS]
        ratios = [self.times[alike[i]] / _expected(alike[i], self.batch) for i in nearest]
        weights = 1 / (distance[nearest] + 1e-3) ** 2
        mean = float(np.average(np.log(ratios), weights=weights))
        return math.exp(mean) * _expected(operator, self.batch)

    def refined(self, seen: Sequence[Timed]) -> Predictor:
        """Fitted to timings of whole networks.

        Args:
            seen: at least 4 for the error to be known.

        Returns:
            The predictor with its lines and errors; the errors are those of leaving each network
            out in turn.
        """
        if not seen:
            return self
        totals = np.array([self.total(t.unet) for t in seen])
        wanted = np.array([t.latency_ms * self.batch / t.steps for t in seen])
        split = np.array([splits(t.unet, self.batch) for t in seen])

        def fits(kept: npt.NDArray[np.bool_]) -> tuple[Line, Line]:
            alone, shared = kept & ~split, kept & split
            return (
                _line(totals[alone], wanted[alone], 1.0),
                _line(totals[shared], wanted[shared], _SHARED),
            )

        whole, halved = fits(np.ones(len(seen), bool))
        errors = [math.inf]
        if len(seen) >= LEAST:
            others = [fits(np.arange(len(seen)) != i) for i in range(len(seen))]
            errors = [
                abs(lines[int(split[i])](totals[i]) / wanted[i] - 1)
                for i, lines in enumerate(others)
            ]
        return dataclasses.replace(
            self,
            whole=whole,
            split=halved,
            error=float(np.median(errors)),
            bound=float(np.quantile(errors, 0.9)),
        )


def _line(totals: F64, values: F64, scale: float) -> Line:
    """Least squares of the relative errors, with a pull towards `scale` and a small fixed part.

    A few networks cannot tell the two apart.
    """
    if not len(values):
        return Line(scale)
    unit = float(np.median(values))
    left = np.vstack([np.column_stack([totals / values, unit / values]), _PULL * np.eye(2)])
    right = np.append(np.ones(len(values)), [_PULL * scale, _PULL * _SMALL])
    from scipy.optimize import nnls  # slow to import, and few processes fit

    found = nnls(left, right)[0]
    return Line(float(found[0]), float(found[1]) * unit)


def _expected(operator: Operator, batch: int) -> float:
    """Milliseconds by a rough model, whose ratio to what is measured changes little with shape."""
    macs, moved = operator.work
    return 0.02 + batch * (macs / 2e7 + moved / 1e6)


def _place(operator: Operator) -> tuple[int, int, int]:
    return max(1, operator.side), operator.inputs, operator.outputs


def grid(specs: Iterable[UNetSpec]) -> list[Operator]:
    """The operators of some networks, each once, in a fixed order."""
    return sorted({operator for spec in specs for operator in operators(spec)})


def measure(
    wanted: Sequence[Operator], batch: int, seconds: float, progress: Progress = silent
) -> dict[Operator, float]:
    """Time operators, each alone on the device, on one stream and one BLAS thread.

    Args:
        wanted: which; where time runs out, every so many of them, evenly over the list.
        batch: B.
        seconds: to stop after.
        progress: told ``operators``.

    Returns:
        Milliseconds by operator.
    """
    found: dict[Operator, list[float]] = {}
    started = time.monotonic()
    order = np.random.default_rng(0).permutation(len(wanted))
    turns = [wanted[i] for _ in range(_PASSES) for i in order]
    for done, operator in enumerate(turns):
        if time.monotonic() - started > seconds:
            break
        with lock.exclusive(), runtime.all_cores(), runtime.blas_threads(1):
            found.setdefault(operator, []).append(_time(runner(operator, batch)))
        progress("operators", done + 1, len(turns))
    return {operator: float(np.mean(times)) for operator, times in found.items()}


def _time(call: Any) -> float:
    mx.eval(call())
    begin = time.perf_counter()
    mx.eval(call())
    one = (time.perf_counter() - begin) * 1e3
    calls = int(np.clip(_SPAN_MS / max(one, 0.02), 2, 40))
    spans = []
    for _ in range(_EVALUATIONS):
        begin = time.perf_counter()
        mx.eval([call() for _ in range(calls)])
        spans.append((time.perf_counter() - begin) * 1e3 / calls)
    return float(np.median(spans))


def key(batch: int) -> str:
    """Of the table for this batch on this device with this runtime."""
    around = {k: v for k, v in environment().items() if k in _SURROUNDINGS}
    return digest("operators", SCHEMA, around, batch)


def load_table(
    wanted: Sequence[Operator],
    batch: int,
    cache: Path,
    seconds: float = 45.0,
    progress: Progress = silent,
) -> Predictor:
    """The table of operators of this device and runtime; it grows with what is asked for.

    Args:
        wanted: operators of the networks in question.
        batch: B.
        cache: folder of all tables.
        seconds: that measuring what is missing may take.
        progress: told while it is measured.

    Returns:
        A predictor that is not calibrated yet.
    """
    with building(cache / key(batch)) as folder:
        times = _read(folder / FILE)
        missing = [operator for operator in wanted if operator not in times]
        if missing:
            times |= measure(missing, batch, seconds, progress)
            rows = [[*dataclasses.astuple(o), ms] for o, ms in times.items()]
            write_json(folder / FILE, {"batch": batch, "rows": rows})
    return Predictor(batch, times)


def kept_table(batch: int, cache: Path) -> Predictor | None:
    """The table of this device and runtime as far as it was measured; None where it was not."""
    times = _read(cache / key(batch) / FILE)
    return Predictor(batch, times) if times else None


def _read(path: Path) -> dict[Operator, float]:
    if not path.exists():
        return {}
    try:
        found = read_json(path) or {}
        table = {
            Operator(str(k), int(s), int(i), int(o)): float(t) for k, s, i, o, t in found["rows"]
        }
        if not table or not all(math.isfinite(t) and t > 0 for t in table.values()):
            raise ValueError("no times")
    except (ValueError, TypeError, KeyError) as error:
        _log.warning("the operator table %s is damaged (%s); it is measured again", path, error)
        return {}
    return table
