"""What is known of chips, by kind, generation and class; imports no MLX.

The facts of Metal are read from MLX's sources (at 846d176, between 0.32.1 and 0.32.4) and from
reports of others: nothing in this file was ever run on Metal by its authors. Those of a Linux CPU
on x86-64 were measured; those of CUDA and of aarch64 were read.

Source of the width multiples: `mlx/backend/metal/conv.cpp` takes its specialized implicit GEMM
where channels divide by 16 (up to 4.5 times faster than the general one on an M1 Pro,
sonos/tract#2551), while the matrix unit itself multiplies 8x8 (`steel/gemm/mma.h`); the tensor
units of the M5 multiply 16x32x16 (`steel/gemm/nax.h`); CUDA's tensor cores m16n8k16
(`cuda/steel/mma.cuh`); AVX2 holds 8 floats, NEON 4, and Apple's CPU kernels work on 8
(`cpu/simd/accelerate_simd.h`).
Source of the fused head dims: `has_fused_kernel` and `use_fallback` in
`metal/scaled_dot_product_attention.cpp`, `supports_sdpa_cudnn` in its CUDA namesake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ado_nas.errors import ConfigError, nearest

# Apple's GPU generations by chip: applegpu_g13g is an M1, g17s an M5 Max.
_FIRST_MAC_GENERATION = 13
_CLASSES = {"p": "phone", "g": "base", "s": "Max", "c": "Max", "d": "Ultra"}
_TENSOR_UNITS = (26, 2)  # the macOS that MLX's is_nax_available asks for
_GIB = 1 << 30


@dataclass(frozen=True)
class Chip:
    """What a kind of chip means for a model."""

    dtype: str  # to train in
    fast_dtype: str  # the narrowest at full speed
    width_multiple: int
    fused_head_dims: tuple[int, ...] = ()  # fastest first
    expensive: tuple[str, ...] = ()  # names of hardware.EXPENSIVE
    compile: bool = True
    rounds: bool = False  # float32 products go through TF32, if MLX_ENABLE_TF32 is not 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What the system says of a device, before anything is concluded from it."""

    kind: str  # metal, cuda or cpu
    facts: Mapping[str, str | int]  # as mx.device_info gives them
    system: str  # Darwin or Linux
    version: tuple[int, ...] = ()  # of macOS, empty elsewhere
    machine: str = ""
    total_bytes: int = 0
    free_bytes: int = 0  # 0: not told
    faked: bool = False


_HALVES = "float16 trains only with a scaled loss, so training stays in float32"
_EARLY = Chip("float32", "float16", 16, (64, 72, 80, 96, 128), ("bfloat16",), notes=(_HALVES,))
_NATIVE = Chip("bfloat16", "bfloat16", 16, (64, 72, 80, 96, 128))
METAL = {
    1: _EARLY,
    2: _EARLY,
    3: _NATIVE,
    4: _NATIVE,
    5: Chip(
        *("bfloat16", "bfloat16", 32, (64, 96, 128, 72, 80)),
        rounds=True,
        notes=(
            "attention with head dims 72 and 80 is fused, but not on the tensor units",
            "convolutions do not use the tensor units, linear layers do",
        ),
    ),
}
"""By generation: 1 is the M1."""

BY_CLASS = {
    (generation, chip_class): "MLX programs are known that leave mx.compile off on this chip "
    "(mflux#354); what it gains was not timed here"
    for generation in (1, 2)
    for chip_class in ("base", "Pro")
}
"""By generation and class: what does not hold for the whole generation."""

_HALF_ONLY = "attention is fused in float16 and bfloat16 alone; float32 holds its scores"
_TURING = Chip(
    *("float32", "float16", 16),
    expensive=("bfloat16",),
    notes=(_HALVES, "fused attention needs compute capability 8.0"),
)
_AMPERE = Chip(
    *("bfloat16", "bfloat16", 16, tuple(range(8, 129, 8))), rounds=True, notes=(_HALF_ONLY,)
)
CUDA = {75: _TURING, 80: _AMPERE, 86: _AMPERE, 89: _AMPERE, 90: _AMPERE}
"""By compute capability."""

_SCALAR = ("exp", "depthwise", "half")  # MLX's vector code for the CPU is Accelerate's alone
CPU = {
    ("Linux", "x86_64"): Chip("float32", "float32", 8, (), _SCALAR, compile=False),
    ("Linux", "aarch64"): Chip("float32", "float32", 4, (), _SCALAR, compile=False),
    ("Darwin", "arm64"): Chip("float32", "float32", 8, (), ("depthwise",), compile=False),
}
"""By system and machine. Fused attention exists on GPUs alone."""

# Sizes are typical of such machines, not read from one.
_M = {
    "m1": ("Apple M1", "applegpu_g13g", 16, 11_453_251_584),
    "m2pro": ("Apple M2 Pro", "applegpu_g14s", 32, 22_906_503_168),
    "m3max": ("Apple M3 Max", "applegpu_g15s", 64, 51_539_607_552),
    "m4": ("Apple M4", "applegpu_g16g", 16, 11_453_251_584),
    "m5": ("Apple M5", "applegpu_g17g", 32, 22_906_503_168),
}
FAKES: dict[str, Seen] = {
    fake: Seen(
        "metal",
        {
            "device_name": name,
            "architecture": architecture,
            "memory_size": gib * _GIB,
            "max_recommended_working_set_size": recommended,
            "max_buffer_length": recommended // 4 * 3,
            "resource_limit": 499_000,
        },
        *("Darwin", _TENSOR_UNITS, "arm64"),
        total_bytes=gib * _GIB,
        faked=True,
    )
    for fake, (name, architecture, gib, recommended) in _M.items()
} | {
    "cuda": Seen(
        "cuda",
        {
            "device_name": "NVIDIA H200",
            "architecture": "sm_90",
            "compute_capability_major": 9,
            "compute_capability_minor": 0,
            "total_memory": 140 * _GIB,
            "free_memory": 139 * _GIB,
        },
        *("Linux", (), "x86_64"),
        total_bytes=256 * _GIB,
        faked=True,
    ),
    "cpu": Seen(
        "cpu",
        {"device_name": "x86-64 CPU", "architecture": "x86_64"},
        *("Linux", (), "x86_64"),
        total_bytes=16 * _GIB,
        free_bytes=12 * _GIB,
        faked=True,
    ),
}
"""By name: what the system would say of such a machine."""


def fake(name: str) -> Seen:
    """What the system would say of a machine that is not there.

    Raises:
        ConfigError: no such machine is known.
    """
    if name not in FAKES:
        raise ConfigError(f"ADO_FAKE_DEVICE={name!r} is no device; {nearest(name, FAKES)}")
    return FAKES[name]


def generation_and_class(architecture: str, name: str = "") -> tuple[int, str]:
    """Generation and class of an Apple chip.

    Args:
        architecture: as MLX gives it, such as ``applegpu_g16s``. It says s for Pro and Max alike.
        name: of the device, such as ``Apple M4 Pro``; settles the class, where it tells.

    Returns:
        (4, "Pro"); (0, "") where it is not one of the M series.
    """
    generation, chip_class = 0, ""
    if match := re.fullmatch(r"applegpu_g(\d+)([a-z])", architecture):
        generation = max(0, int(match[1]) - _FIRST_MAC_GENERATION + 1)
        chip_class = _CLASSES.get(match[2], "")
    if match := re.fullmatch(r"Apple M(\d+)(?: (Pro|Max|Ultra))?", name):
        return generation or int(match[1]), match[2] or "base"
    return generation, chip_class


def known(seen: Seen, generation: int, chip_class: str) -> Chip:
    """The facts of a chip, or of the nearest known one with a note that says so.

    Args:
        seen: what the system says.
        generation: of an Apple chip, else 0.
        chip_class: of an Apple chip, else empty.

    Returns:
        Its row of the tables, with what its class and system change.
    """
    if seen.kind == "metal":
        return _metal(seen, generation, chip_class)
    architecture = str(seen.facts.get("architecture", ""))
    if seen.kind == "cuda":
        digits = architecture.removeprefix("sm_")
        return _nearest(CUDA, int(digits) if digits.isdecimal() else 0, architecture or "this GPU")
    key = (seen.system, {"arm64": "aarch64"}.get(seen.machine, seen.machine))
    if seen.system == "Darwin":
        key = ("Darwin", "arm64")
    return CPU.get(key) or _noted(
        CPU["Linux", "x86_64"], f"{seen.machine} is unknown: taken for an x86-64 CPU"
    )


def _metal(seen: Seen, generation: int, chip_class: str) -> Chip:
    # The phones' generations are numbered one ahead: MLX asks for tensor units from 18, not 17.
    row = generation - (chip_class == "phone")
    found = _nearest(METAL, row, str(seen.facts.get("device_name", "this GPU")))
    if found.rounds and seen.version < _TENSOR_UNITS:
        found = _noted(METAL[4], "MLX uses the tensor units of this chip from macOS 26.2 on")
    note = BY_CLASS.get((generation, chip_class))
    return _noted(found, note) if note else found


def _nearest(rows: Mapping[int, Chip], number: int, name: str) -> Chip:
    """The row of this number, of the next lower one, or of the lowest."""
    if number in rows:
        return rows[number]
    lower = max((n for n in rows if n < number), default=min(rows))
    word = f"an M{lower}" if rows is METAL else f"compute capability {lower / 10}"
    return _noted(rows[lower], f"{name} is unknown: taken for {word}, the nearest known")


def _noted(chip: Chip, note: str) -> Chip:
    return replace(chip, notes=(*chip.notes, note))
