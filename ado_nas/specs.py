"""Everything that names a model or how it is made, as frozen dataclasses with a canonical hash.

A spec is data: it holds no array and imports no MLX, so the parent process of a search can read
and write it. `to_dict` and `from_dict` are exact inverses; an unknown key is an error that names
the nearest one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar, cast

from ado_nas.errors import SpecError, nearest
from ado_nas.mending import mended, told

T = TypeVar("T")

ACTIVATIONS = ("relu", "hardswish", "silu", "gelu")
ATTENTION = ("none", "full", "linear", "window")
CONVOLUTIONS = ("full", "separable")
NORMS = ("group", "rms")
DOWNSAMPLES = ("conv", "pool", "fold")
UPSAMPLES = ("conv", "nearest", "fold")
SKIPS = ("concat", "add")
PREDICTIONS = ("edm", "epsilon", "v")
# Of the probability-flow equation: no fresh noise.
MULTISTEP_SOLVERS = ("ddim", "dpmpp_2m", "dpmpp_3m", "ipndm_2", "ipndm_3", "ipndm_4", "unipc")
FLOW_SOLVERS = (*MULTISTEP_SOLVERS, "heun")
SOLVERS = (*FLOW_SOLVERS, "consistency")
CLOSED_FORMS = ("uniform", "karras", "logsnr", "ays")
SCHEDULES = (*CLOSED_FORMS, "dp")
_WORDS = {
    "activation": ACTIVATIONS,
    "attention": ATTENTION,
    "conv": CONVOLUTIONS,
    "norm": NORMS,
    "downsample": DOWNSAMPLES,
    "upsample": UPSAMPLES,
    "skip": SKIPS,
    "prediction": PREDICTIONS,
}
DATASETS = ("digits", "patches", "shapes")
ADAPTATIONS = ("none", "prune", "grow")
MIN_JUDGED = 16  # images that can be judged, at least
AT_LEAST_0, AT_LEAST_1, SHARE = (0, math.inf), (1, math.inf), (0, 1)
LATER = {"later": True}
"""Marks a field that came after its class: at its default it does not count in a hash."""


def _within(part: str, spec: Any, span: tuple[float, float], *names: str) -> None:
    """Refuse numbers of a spec that are not from `span`, or not finite."""
    least, most = span
    for name in names:
        value = getattr(spec, name)
        if not least <= value <= most or math.isinf(value):
            wanted = f"at least {least}" if math.isinf(most) else f"{least} to {most}"
            raise SpecError(f"{part}.{name} {value}: give {wanted}")


@dataclass(frozen=True)
class UNetSpec:
    """A U-Net in image space or latent space.

    Widths, blocks and attention have one entry per level, from the finest to the coarsest; a level
    halves the side of the one before it. `patch` folds squares of pixels into channels first.
    """

    resolution: int = 16
    in_channels: int = 1
    patch: int = 1
    widths: tuple[int, ...] = (32, 64)
    blocks: tuple[int, ...] = (1, 1)
    attention: tuple[str, ...] = ("none", "full")
    head_dim: int = 16
    window: int = 4  # side of the squares of window attention, in pixels of the feature map
    activation: str = "silu"
    conv: str = "full"  # separable: the blocks' 3x3 convolutions by channel, then 1x1
    norm: str = "group"  # rms: over the channels of each pixel
    downsample: str = "conv"  # pool: the mean of 2x2; fold: 2x2 into channels, then 1x1
    upsample: str = "conv"  # nearest: no convolution after it; fold: 1x1, then channels into 2x2
    skip: str = "concat"  # add: through a 1x1 convolution where widths differ
    time_width: int = 128
    middle: bool = True  # two blocks, with the last level's attention between them
    groups: int = 4  # of the group norms; divides every width
    num_classes: int = 0  # 0: unconditional
    cross_attention_width: int = 0  # 0: no cross-attention; text towers are not searched yet
    prediction: str = "edm"
    sigma_data: float = 0.5
    # Told the side of its images, for a network that is trained at several.
    sized: bool = field(default=False, metadata=LATER)
    # Told where in the whole image its pixels lie, for a network that is trained on crops.
    placed: bool = field(default=False, metadata=LATER)
    # So many of the finest levels are networks of their own, each on what the network inside it
    # makes of the image averaged down, which serves that resolution alone, too.
    nested: int = field(default=0, metadata=LATER)
    # Sees a second image beside its own: what the network inside made of it.
    hinted: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        for name, known in _WORDS.items():
            value = getattr(self, name)
            for word in (value,) if isinstance(value, str) else value:
                _one_of(name, word, known)
        if rule := self._broken():
            fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
            raise SpecError(f"{rule}; nearest valid: {told(mended(fields))}")

    def _broken(self) -> str:
        """The first rule that the fields break together; empty where they go together."""
        levels = len(self.widths)
        if levels == 0 or min(self.widths) < 4 or any(w % 4 for w in self.widths):
            return f"widths {self.widths}: give at least one, each a multiple of 4"
        if self.groups < 1 or any(w % self.groups for w in self.widths):
            return f"groups {self.groups} does not divide every width of {self.widths}"
        for name in ("blocks", "attention"):
            if len(getattr(self, name)) != levels:
                return f"{name} {getattr(self, name)}: give one entry for each of {levels} levels"
        if min(self.blocks) < 1:
            return f"blocks {self.blocks}: at least one per level"
        if self.window < 2:
            return f"window {self.window}: at least 2 pixels a side"
        if self.time_width < 1:
            return f"time_width {self.time_width}: at least 1"
        for width, kind in zip(self.widths, self.attention, strict=True):
            if kind != "none" and (self.head_dim < 1 or width % self.head_dim):
                return (
                    f"attention at width {width} needs a head_dim that divides it, "
                    f"not {self.head_dim}"
                )
        if self.patch < 1 or self.resolution < self.stride or self.resolution % self.stride:
            return (
                f"resolution {self.resolution} does not divide by {self.stride} "
                f"(patch {self.patch}, {levels} levels)"
            )
        if not 0 <= self.nested < levels:
            return f"nested {self.nested}: 0 to {levels - 1}, for {levels} levels"
        if self.nested and (self.sized or self.placed):
            return "nested networks have one resolution each; leave sized and placed out"
        if self.cross_attention_width:
            return "cross_attention_width is reserved: there is no text conditioning yet"
        return ""

    @property
    def inside(self) -> UNetSpec:
        """Of a nested network the one inside, for images of half the side."""
        return dataclasses.replace(
            self,
            resolution=self.resolution // 2,
            widths=self.widths[1:],
            blocks=self.blocks[1:],
            attention=self.attention[1:],
            nested=self.nested - 1,
            hinted=False,
        )

    @property
    def outside(self) -> UNetSpec:
        """Of a nested network the outermost one."""
        return dataclasses.replace(
            self,
            widths=self.widths[:1],
            blocks=self.blocks[:1],
            attention=self.attention[:1],
            middle=False,
            nested=0,
            hinted=True,
        )

    @property
    def stride(self) -> int:
        """Pixels that become one at the coarsest level: every side is a multiple of it."""
        return int(self.patch * 2 ** (len(self.widths) - 1))

    @property
    def hash(self) -> str:
        """Twelve hex digits that equal specs share."""
        return digest(self)

    @property
    def canonical(self) -> UNetSpec:
        """The same network with what does not matter to it at its default.

        Window attention over a map no larger than the window is full attention.
        """
        sides = [self.resolution // (self.patch * 2**level) for level in range(len(self.widths))]
        pairs = zip(self.attention, sides, strict=True)
        kinds = tuple("full" if k == "window" and s <= self.window else k for k, s in pairs)
        changes: dict[str, Any] = {"attention": kinds}
        if all(k == "none" for k in kinds):
            changes["head_dim"] = UNetSpec.head_dim
        if "window" not in kinds:
            changes["window"] = UNetSpec.window
        if self.norm != "group":
            changes["groups"] = math.gcd(UNetSpec.groups, *self.widths)
        if len(self.widths) == 1:
            changes |= {"downsample": UNetSpec.downsample, "upsample": UNetSpec.upsample}
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class SamplerSpec:
    """How a model is sampled: solver, noise levels and the number of network evaluations (NFE)."""

    solver: str = "dpmpp_2m"
    schedule: str = "karras"
    nfe: int = 50
    guidance: float = 1.0  # 1: none; a guided step evaluates a doubled batch

    def __post_init__(self) -> None:
        _one_of("solver", self.solver, SOLVERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        if self.nfe < 1:
            raise SpecError(f"nfe {self.nfe}: at least 1")


@dataclass(frozen=True)
class CurriculumSpec:
    """Resolutions that a network is trained at, with their shares of the compute.

    They come one after another, rising to the network's own; or, as crops, all at once.
    """

    resolutions: tuple[int, ...] = ()  # empty: the network's own throughout
    shares: tuple[float, ...] = ()
    # Of the iterations at a resolution, those at the ones before it: so that none is forgotten.
    replay: float = field(default=0.15, metadata=LATER)
    # Of a resolution's iterations, those in which the learning rate rises again, at least; they
    # are as many as the first warm-up where a third of the stage holds them.
    rewarm: float = field(default=0.04, metadata=LATER)
    # The batch grows by this power of the ratio of the sides; 2 keeps memory constant.
    batch_growth: float = field(default=2.0, metadata=LATER)
    # The resolutions are sides of crops of the whole image, mixed from the start.
    crops: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        if len(self.resolutions) != len(self.shares) or (
            self.shares and abs(sum(self.shares) - 1) > 1e-6
        ):
            raise SpecError(
                f"curriculum {self.resolutions} x {self.shares}: one share each, summing to 1"
            )
        if min(self.shares, default=1) <= 0 or any(b <= a for a, b in pairwise(self.resolutions)):
            raise SpecError(
                f"curriculum {self.resolutions} x {self.shares}: give rising resolutions, each "
                "with a share above 0"
            )
        for name, most in (("replay", 0.5), ("rewarm", 0.5), ("batch_growth", 2.0)):
            if not 0 <= getattr(self, name) <= most:
                value = getattr(self, name)
                raise SpecError(f"curriculum: {name} {value}: give a number from 0 to {most:g}")

    def __bool__(self) -> bool:
        """Whether more than one resolution is trained at."""
        return len(self.resolutions) > 1

    def sides(self, own: int) -> tuple[int, ...]:
        """Resolutions that a network of some resolution can be sampled at afterwards, px."""
        return self.resolutions if self and not self.crops else (own,)

    def told(self, unet: UNetSpec) -> UNetSpec:
        """The network, told of sizes or places if it meets several, and not if it does not."""
        sized = bool(self) and not self.crops and not unet.nested
        return dataclasses.replace(unet, sized=sized, placed=bool(self) and self.crops)

    def check(self, unet: UNetSpec) -> None:
        """Refuse a curriculum that a network cannot follow.

        Raises:
            SpecError: a resolution that does not divide by the network's stride or does not
                divide its own, or another one at the end; or a network that is not told of them.
        """
        if not self.resolutions:
            return
        for side in self.resolutions:
            if side % unet.stride or unet.resolution % side:
                raise SpecError(
                    f"curriculum at {side} px: a network of {unet.resolution} px with patch "
                    f"{unet.patch} and {len(unet.widths)} levels takes multiples of {unet.stride} "
                    f"that divide {unet.resolution}"
                )
        if self.resolutions[-1] != unet.resolution:
            raise SpecError(
                f"curriculum {self.resolutions} ends at {self.resolutions[-1]} px but the "
                f"network has {unet.resolution}; end with that"
            )
        if not self:
            return
        if unet.nested and not self.crops:
            served = [unet.resolution // 2**k for k in range(unet.nested, -1, -1)]
            if not set(self.resolutions) <= set(served):
                raise SpecError(
                    f"curriculum {self.resolutions}: the networks of nested {unet.nested} make "
                    f"images of {served} px; keep to these"
                )
        elif not (unet.placed if self.crops else unet.sized):
            word = "placed" if self.crops else "sized"
            raise SpecError(f"curriculum {self.resolutions}: the network needs {word} = true")


@dataclass(frozen=True)
class DistillationSpec:
    """How a student learns from cached teacher trajectories."""

    steps: int = 2
    iterations: int = 350
    batch: int = 32
    learning_rate: float = 1e-2
    ema_decay: float = 0.99
    # Towards the candidate's network while training: cut from a wider one, or grown from a
    # narrower one.
    adaptation: str = field(default="none", metadata=LATER)
    # Of the distance to the teacher's feature maps, beside the loss; 0: the teacher does not run.
    feature_weight: float = field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        _one_of("adaptation", self.adaptation, ADAPTATIONS)
        if not 0 <= self.feature_weight < math.inf:
            raise SpecError(f"feature_weight {self.feature_weight}: give a number, 0 or more")
        if self.feature_weight and self.adaptation != "none":
            raise SpecError(
                f"feature_weight {self.feature_weight} with adaptation {self.adaptation!r}: the "
                "maps of a network that changes have no lasting adapters; use one of them"
            )
        _within("distillation", self, AT_LEAST_0, "learning_rate")
        _within("distillation", self, SHARE, "ema_decay")
        if not 1 <= self.steps <= 8:
            raise SpecError(f"steps {self.steps}: a student takes 1 to 8")
        if self.iterations < 1 or self.batch < 2:
            raise SpecError(
                f"iterations {self.iterations} and batch {self.batch}: at least 1 and 2"
            )


@dataclass(frozen=True)
class Candidate:
    """A student as the search draws it: what it is and how it is made."""

    unet: UNetSpec = field(default_factory=UNetSpec)
    distillation: DistillationSpec = field(default_factory=DistillationSpec)
    sampler: SamplerSpec = field(default_factory=lambda: SamplerSpec("ddim", "dp", 2))
    curriculum: CurriculumSpec = field(default_factory=CurriculumSpec)
    # Share of the network's widths at each step of the sampler; empty: all of it at every step.
    step_widths: tuple[float, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        self.curriculum.check(self.unet)
        changes = self.distillation.adaptation != "none"
        if self.curriculum and (changes or self.distillation.feature_weight):
            raise SpecError(
                f"curriculum {self.curriculum.resolutions} with adaptation "
                f"{self.distillation.adaptation!r} and feature_weight "
                f"{self.distillation.feature_weight}: use one of them"
            )
        if self.unet.nested and (changes or self.step_widths):
            raise SpecError(
                f"nested {self.unet.nested} with adaptation {self.distillation.adaptation!r} and "
                f"step_widths {self.step_widths}: nested networks neither change nor have slices "
                "by step yet; leave these out"
            )
        if not self.step_widths:
            return
        if len(self.step_widths) != self.sampler.nfe:
            raise SpecError(
                f"step_widths {self.step_widths}: give one share for each of "
                f"{self.sampler.nfe} steps, or none"
            )
        if min(self.step_widths) <= 0 or max(self.step_widths) != 1:
            raise SpecError(
                f"step_widths {self.step_widths}: shares above 0, the largest 1; a network that "
                "no step uses whole is better given as a narrower one"
            )
        if self.distillation.adaptation != "none":
            raise SpecError(
                f"adaptation {self.distillation.adaptation!r} with step_widths "
                f"{self.step_widths}: a network that changes has no slices yet; use one of them"
            )
        if self.distillation.feature_weight:
            raise SpecError(
                f"feature_weight {self.distillation.feature_weight} with step_widths "
                f"{self.step_widths}: maps of two widths have no common adapters; use one of them"
            )

    @property
    def hash(self) -> str:
        """Twelve hex digits that equal candidates share."""
        return digest(self)


@dataclass(frozen=True)
class DataSpec:
    """A dataset at one resolution, split for training and for judging."""

    name: str = "digits"  # one of DATASETS, or the path of a folder of images
    resolution: int = 16
    count: int = 0  # images generated by procedural sets; 0 where the set has its own size
    held_out: float = 0.4
    difficulty: int = 1  # shapes: how many objects at most
    seed: int = 0
    channels: int = field(default=0, metadata=LATER)  # folders: 1 or 3 turns all images into that
    flips: bool = field(default=False, metadata=LATER)  # patches: half of them mirrored
    # The side that the images are loaded at before they are averaged down; 0: `resolution` itself.
    averaged_from: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher and how it is trained."""

    unet: UNetSpec = field(default_factory=UNetSpec)
    iterations: int = 1000
    batch: int = 64
    learning_rate: float = 2e-3
    warmup: int = 50
    ema_decay: float = 0.995
    label_dropout: float = (
        0.1  # share of labels hidden, so that guidance has an unconditional twin
    )
    p_mean: float = -0.5  # of log(sigma / sigma_data) in training; EDM has -1.2 + log 2 = -0.5
    p_std: float = 1.2  # likewise
    seed: int = 0
    curriculum: CurriculumSpec = field(default=CurriculumSpec(), metadata=LATER)

    def __post_init__(self) -> None:
        _within("task.teacher", self, AT_LEAST_0, "iterations", "warmup", "learning_rate", "seed")
        _within("task.teacher", self, AT_LEAST_1, "batch")
        _within("task.teacher", self, SHARE, "ema_decay", "label_dropout")
        if self.unet.hinted:
            raise SpecError("task.teacher.unet.hinted: for parts of nested networks alone")
        self.curriculum.check(self.unet)


@dataclass(frozen=True)
class TrajectorySpec:
    """The bank of teacher trajectories that students learn from."""

    count: int = 2048
    levels: int = 20  # network steps between sigma_max and sigma_min
    solver: str = "dpmpp_2m"
    guidance: float = 1.0
    sigma_min: float = 0.02
    sigma_max: float = 40.0
    seed: int = 1

    def __post_init__(self) -> None:
        _one_of("solver of the trajectories", self.solver, FLOW_SOLVERS)
        _within("task.trajectories", self, AT_LEAST_1, "count", "levels")
        _within("task.trajectories", self, AT_LEAST_0, "seed")
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise SpecError(
                f"task.trajectories.sigma_min {self.sigma_min} and sigma_max {self.sigma_max}: "
                "give two numbers above 0, sigma_min the lower one"
            )


@dataclass(frozen=True)
class SupernetSpec:
    """A network trained to work at any width, as the source of students' first weights."""

    iterations: int = 0  # 0: none; students inherit from the teacher itself
    batch: int = 32
    learning_rate: float = 5e-3
    ema_decay: float = 0.99
    least: float = 0.25  # the narrowest share of the teacher's widths
    drawn: int = 1  # networks of random widths in each iteration, beside widest and narrowest
    seed: int = 0
    curriculum: CurriculumSpec = field(default=CurriculumSpec(), metadata=LATER)

    def __post_init__(self) -> None:
        numbers = "iterations", "drawn", "learning_rate", "seed"
        _within("task.supernet", self, AT_LEAST_0, *numbers)
        _within("task.supernet", self, AT_LEAST_1, "batch")
        _within("task.supernet", self, SHARE, "ema_decay")
        if not 0 < self.least <= 1:
            raise SpecError(f"supernet: least {self.least}: give a share above 0, at most 1")


@dataclass(frozen=True)
class QualitySpec:
    """How quality is judged: feature network, sample counts and noise seeds."""

    samples: int = 1000
    batch: int = 100
    noise_seed: int = (
        1000  # the search judges on this noise and the first half of the held-out images
    )
    report_noise_seed: int = 2000  # the report judges its front on this noise and the second half
    feature_iterations: int = 400
    feature_width: int = 64
    seed: int = 0
    # Sides that images are judged at beside the model's own; px.
    resolutions: tuple[int, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        _within("task.quality", self, (MIN_JUDGED, math.inf), "samples")
        _within("task.quality", self, AT_LEAST_1, "batch")
        numbers = "noise_seed", "report_noise_seed", "feature_iterations", "seed"
        _within("task.quality", self, AT_LEAST_0, *numbers)


@dataclass(frozen=True)
class TaskSpec:
    """What a search is about: data, teacher, trajectories, measure of quality and reference."""

    data: DataSpec = field(default_factory=DataSpec)
    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    trajectories: TrajectorySpec = field(default_factory=TrajectorySpec)
    supernet: SupernetSpec = field(default=SupernetSpec(), metadata=LATER)
    quality: QualitySpec = field(default_factory=QualitySpec)
    reference: SamplerSpec = field(default_factory=SamplerSpec)
    training_free: tuple[tuple[str, ...], ...] = (
        ("dpmpp_2m", "karras"),
        ("dpmpp_2m", "logsnr"),
        ("dpmpp_2m", "dp"),
    )
    training_free_nfe: tuple[int, ...] = (4, 5, 6, 8)
    latency_batch: int = 16
    worst_teacher: float = 0.1  # largest gap, as a share of the pixel-Gaussian's; 0: any will do
    # Megabytes that each process may take, at most; 0: its share of the device's.
    memory_budget_mb: float = field(default=0.0, metadata=LATER)
    teacher_folder: str = ""  # a model folder that is taken as the teacher instead of training one
    inherit: bool = field(default=True, metadata=LATER)  # false: students start from fresh weights

    def __post_init__(self) -> None:
        if not 1 <= self.latency_batch <= self.quality.samples:
            raise SpecError(
                f"task.latency_batch {self.latency_batch}: give a number from 1 to "
                f"{self.quality.samples}, as many as task.quality.samples"
            )
        _within("task", self, AT_LEAST_0, "worst_teacher", "memory_budget_mb")
        for pair in self.training_free:
            if len(pair) != 2:
                raise SpecError(
                    f"task.training_free {list(pair)}: give a solver and a schedule, such as "
                    '["dpmpp_2m", "karras"]'
                )
        self.samplers  # noqa: B018 - refuses what is none

    @property
    def samplers(self) -> tuple[SamplerSpec, ...]:
        """Those a user could switch to without training anything, cheapest first."""
        return tuple(
            SamplerSpec(solver, schedule, nfe, self.reference.guidance)
            for nfe in self.training_free_nfe
            for solver, schedule in self.training_free
        )

    def check_samplers(self) -> None:
        """Refuse samplers of the teacher that its trajectories have too few levels for.

        Raises:
            SpecError: the reference, or one that needs no training, has more steps learned by dp.
        """
        most = self.trajectories.levels
        for sampler in (self.reference, *self.samplers):
            if sampler.schedule == "dp" and steps(sampler.solver, sampler.nfe) > most:
                raise SpecError(
                    f"{sampler.solver} dp with {sampler.nfe} evaluations: the trajectories hold "
                    f"{most} levels; give fewer or raise task.trajectories.levels"
                )


def to_dict(spec: Any) -> dict[str, Any]:
    """A spec as plain JSON and TOML values, tuples as lists.

    Args:
        spec: any dataclass of this module or made of such.

    Returns:
        Nested dictionaries with every field, defaults included.
    """
    return cast(dict[str, Any], _plain(spec))


def from_dict(cls: type[T], values: Mapping[str, Any], base: T | None = None) -> T:
    """Build a spec from plain values; the inverse of `to_dict`.

    Args:
        cls: the dataclass to build.
        values: fields by name; missing ones come from `base` or the defaults.
        base: a spec whose fields `values` overrides, nested ones field by field.

    Returns:
        An instance of `cls`, validated.

    Raises:
        SpecError: a key is unknown, or a value has the wrong type or is out of range.
    """
    hints = _hints(cast(Hashable, cls))
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise SpecError(f"{cls.__name__} has no field {key!r}; {nearest(key, hints)}")
        current = getattr(base, key) if base is not None else None
        changes[key] = _typed(f"{cls.__name__}.{key}", hints[key], value, current)
    if base is not None:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    return cls(**changes)


def digest(*parts: Any) -> str:
    """Twelve hex digits of the SHA-256 of specs or plain values in canonical JSON.

    Args:
        parts: dataclasses, or values that JSON can hold.

    Returns:
        The same digits for equal content, in any process and on any machine.
    """
    text = json.dumps(
        [_plain(p, whole=False) for p in parts], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(value: Any, whole: bool = True) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {
            f.name: _plain(v, whole)
            for f, v in fields
            if whole or "later" not in f.metadata or v != f.default
        }
    if isinstance(value, (tuple, list)):
        return [_plain(v, whole) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v, whole) for k, v in value.items()}
    return value


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _typed(name: str, hint: Any, value: Any, base: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise SpecError(f"{name} is {value!r}; give a table of {hint.__name__} fields")
        return from_dict(hint, value, base)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return None if value is None else _typed(name, inner[0], value, base)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise SpecError(f"{name} is {value!r}; give a list")
        element = typing.get_args(hint)[0]
        return tuple(_typed(f"{name}[{i}]", element, v, None) for i, v in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise SpecError(f"{name} is {value!r}; give {hint.__name__}")
    return value


def steps(solver: str, nfe: int) -> int:
    """Steps of a solver within so many network evaluations."""
    return (nfe + 1) // 2 if solver == "heun" else nfe


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SpecError(f"{name} {value!r} is unknown; {nearest(value, known)}")
