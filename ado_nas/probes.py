"""Short measurements that check on the device what the tables of chips say; never run on Metal."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx

from ado_nas.device import DeviceProfile
from ado_nas.hardware import EXPENSIVE
from ado_nas.measure import lock

LIMITS = {"exp": 5.0, "depthwise": 1.5, "half": 2.0, "bfloat16": 1.3}
"""By name of `EXPENSIVE`: the ratio of `Probe` from which an operation counts as expensive."""
AGAINST = {
    "exp": "silu against relu",
    "depthwise": "a depthwise against a full 3x3 convolution",
    "half": "a float16 against a float32 product",
    "bfloat16": "a bfloat16 against a float16 product",
}
"""By name of `EXPENSIVE`: what its ratio compares."""
_HEAD_DIMS = range(8, 129, 8)
_REPEATS = 5


@dataclass(frozen=True)
class Probe:
    """What was measured on the real device in a fraction of a second."""

    ratios: Mapping[str, float]  # by name of AGAINST; times of whole calls
    fused_head_dims: tuple[int, ...] | None  # None: this MLX cannot be asked
    seconds: float


def probe(found: DeviceProfile) -> Probe:
    """Measure; takes turns with whoever times something on this machine.

    Args:
        found: the real device's profile.

    Returns:
        Ratios from the best of a few calls each. Other programs can distort them.
    """
    start = time.perf_counter()
    with lock.shared():
        ratios = {**_elementwise(found.kind), **_convolutions(found.kind), **_types(found.kind)}
        dims = fused_head_dims(found.fast_dtype)
    return Probe(ratios, dims, time.perf_counter() - start)


def fused_head_dims(dtype: str) -> tuple[int, ...] | None:
    """The head dims up to 128 for which MLX has a fused attention kernel on the default device.

    Args:
        dtype: of queries, keys and values.

    Returns:
        The dims, asked for by ``force_fused``; None before MLX 0.32.4, which does not have it.
    """
    dims = []
    for dim in _HEAD_DIMS:
        q = mx.zeros((1, 1, 16, dim), getattr(mx, dtype))
        try:
            mx.fast.scaled_dot_product_attention(q, q, q, scale=1.0, force_fused=True)
        except ValueError:
            continue
        except TypeError:
            return None
        dims.append(dim)
    return tuple(dims)


def corrected(found: DeviceProfile, probe: Probe) -> DeviceProfile:
    """The profile with what was measured in the place of what the tables say.

    Args:
        found: by the tables.
        probe: by measurement on the same device.

    Returns:
        The same profile where both agree; else the measured values, and a note on each difference.
    """
    slow = {n for n, ratio in probe.ratios.items() if ratio >= LIMITS[n]}
    if "half" in slow:
        slow.discard("bfloat16")  # said by "half" already
    notes = tuple(
        f"measured, against the tables: {AGAINST[name]} costs {probe.ratios[name]:.1f} times"
        for name in EXPENSIVE
        if name in probe.ratios and (name in slow) != (name in found.expensive)
    )
    dims = found.fused_head_dims
    if probe.fused_head_dims is not None and set(probe.fused_head_dims) != set(dims):
        dims = probe.fused_head_dims
        notes += (f"asked, against the tables: attention is fused for head dims {_list(dims)}",)
    expensive = tuple(name for name in EXPENSIVE if name in slow)
    return dataclasses.replace(
        found, expensive=expensive, fused_head_dims=dims, notes=(*found.notes, *notes)
    )


def _elementwise(kind: str) -> dict[str, float]:
    x = mx.linspace(-3, 3, 1 << (17 if kind == "cpu" else 24))
    return {"exp": _best(lambda: x * mx.sigmoid(x)) / _best(lambda: mx.maximum(x, 0))}


def _convolutions(kind: str) -> dict[str, float]:
    x = mx.ones((8, 16, 16, 32) if kind == "cpu" else (64, 64, 64, 64))
    width = x.shape[-1]
    full, depthwise = mx.ones((width, 3, 3, width)), mx.ones((width, 3, 3, 1))
    slow = _best(lambda: mx.conv2d(x, depthwise, padding=1, groups=width))
    return {"depthwise": slow / _best(lambda: mx.conv2d(x, full, padding=1))}


def _types(kind: str) -> dict[str, float]:
    side = 128 if kind == "cpu" else 2048
    times = {}
    for dtype in (mx.float32, mx.float16, mx.bfloat16):
        x = mx.ones((side, side), dtype)
        times[dtype] = _best(lambda x=x: x @ x)  # type: ignore[misc]
    half, brain = times[mx.float16], times[mx.bfloat16]
    return {"half": half / times[mx.float32], "bfloat16": brain / half}


def _best(call: Callable[[], mx.array]) -> float:
    """Seconds of the fastest of a few evaluated calls, after one that warms up."""
    mx.eval(call())
    spans = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        mx.eval(call())
        spans.append(time.perf_counter() - start)
    return min(spans)


def _list(dims: tuple[int, ...]) -> str:
    return ", ".join(map(str, dims)) or "none"
