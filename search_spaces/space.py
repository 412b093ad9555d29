"""The choices of a search, by name, and the dimensions that a sampler sees."""

from __future__ import annotations

from dataclasses import dataclass, field

from ado_nas.errors import SpecError, nearest
from ado_nas.specs import (
    ACTIVATIONS,
    ADAPTATIONS,
    ATTENTION,
    CONVOLUTIONS,
    DOWNSAMPLES,
    LATER,
    MULTISTEP_SOLVERS,
    NORMS,
    SCHEDULES,
    SKIPS,
    UPSAMPLES,
    DistillationSpec,
)
from ado_nas.widths import PATTERNS
from search_spaces.chooser import Choice

# At the coarsest level only, at every level, or at those of so many tokens at most.
TOKENS = {f"{n}tokens": n for n in (16, 64, 256, 1024)}
PLACEMENTS = ("low", "all", *TOKENS)
CROPS = "crops:"  # before a curriculum's pattern
UNANCHORED = ("none",)  # as the anchors of a space in which nothing is tried first
KINDS = tuple(kind for kind in ATTENTION if kind != "none")
UNET_DIMENSIONS = (
    "widths",
    "patch",
    "blocks",
    "attention",
    "head_dim",
    "conv",
    "norm",
    "activation",
    "resample",
    "middle",
    "skip",
    "time_width",
)
DIMENSIONS = (
    *UNET_DIMENSIONS,
    "steps",
    "solver",
    "schedule",
    "step_widths",
    "curriculum",
    "adaptation",
    "feature_weight",
)
_KNOWN = {
    "attention": ("none", *PLACEMENTS, *(f"{p}:{k}" for p in PLACEMENTS for k in KINDS)),
    "conv": CONVOLUTIONS,
    "norm": NORMS,
    "activation": ACTIVATIONS,
    "resample": tuple(f"{down}-{up}" for down in DOWNSAMPLES for up in UPSAMPLES),
    "skip": SKIPS,
    "solver": MULTISTEP_SOLVERS,
    "schedule": SCHEDULES,
    "step_widths": PATTERNS,
    "adaptation": ADAPTATIONS,
}
_LEAST = {"patch": 1, "head_dim": 1, "time_width": 0, "steps": 1}


@dataclass(frozen=True)
class Dimension:
    """One choice that a sampler makes."""

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Space:
    """The choices of each dimension, cheapest first; a single choice is fixed, not searched."""

    widths: tuple[str, ...] = ("8-16", "12-24", "16-32", "24-48", "32-64")  # finest level first
    patch: tuple[int, ...] = (2, 1)
    blocks: tuple[str, ...] = ("1-1", "1-2", "2-1", "2-2")  # last entry repeats
    attention: tuple[str, ...] = ("none", "low")  # PLACEMENT:KIND, full where no kind is said
    head_dim: tuple[int, ...] = (16,)  # the largest; a network uses what divides its widths
    conv: tuple[str, ...] = ("full",)
    norm: tuple[str, ...] = ("group",)
    activation: tuple[str, ...] = ("relu", "hardswish")
    resample: tuple[str, ...] = ("conv-conv",)  # down-up
    middle: tuple[bool, ...] = (False,)
    skip: tuple[str, ...] = ("concat",)
    time_width: tuple[int, ...] = (0,)  # 0: four times the finest width, at least 32
    steps: tuple[int, ...] = (1, 2, 3, 4)
    solver: tuple[str, ...] = field(default=("ddim",), metadata=LATER)
    schedule: tuple[str, ...] = ("karras", "dp")
    step_widths: tuple[str, ...] = ("even",)  # or half the widths at all steps but the first, last
    # Shares of the compute, halving the side before each but the last: "1-1-2" is a quarter at a
    # quarter of the side, a quarter at a half; "crops:2-3-5" mixes crops of these sides.
    curriculum: tuple[str, ...] = field(default=("1",), metadata=LATER)
    adaptation: tuple[str, ...] = ("none",)  # prune, grow: towards the network while training
    feature_weight: tuple[float, ...] = (0.0,)  # of the teacher's feature maps in the loss
    # Tried first: "widths=16-32 steps=2", the rest at their middle; "none" alone for nothing.
    anchors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in DIMENSIONS:
            choices = getattr(self, name)
            if not choices or len(set(choices)) != len(choices):
                raise SpecError(f"space.{name} {choices}: give at least one choice, each once")
        for name, allowed in _KNOWN.items():
            for choice in set(getattr(self, name)) - set(allowed):
                raise SpecError(f"space.{name} {choice!r} is unknown; {nearest(choice, allowed)}")
        for name, least in _LEAST.items():
            if min(getattr(self, name)) < least:
                raise SpecError(f"space.{name} {getattr(self, name)}: give at least {least}")
        if "none" not in self.adaptation and self.step_widths != ("even",):
            raise SpecError(
                f"space.adaptation {self.adaptation} with space.step_widths {self.step_widths}: "
                "networks of two widths do not change while they train; add 'none' to adaptation"
            )
        self._check_feature_weight()
        changing = (self.adaptation, self.feature_weight) != (("none",), (0.0,))
        if "1" not in self.curriculum and changing:
            raise SpecError(
                f"space.curriculum {self.curriculum} with space.adaptation {self.adaptation} and "
                f"space.feature_weight {self.feature_weight}: these are learned at one "
                'resolution; add "1" to curriculum'
            )
        for text in (*self.widths, *self.blocks):
            numbers(text)
        for text in self.curriculum:
            numbers(text.removeprefix(CROPS))
        anchors(self)

    def _check_feature_weight(self) -> None:
        for weight in self.feature_weight:
            DistillationSpec(feature_weight=weight)
        others = {"step_widths": ("even",), "adaptation": ("none",)}
        for name, alone in others.items():
            if 0.0 not in self.feature_weight and getattr(self, name) != alone:
                raise SpecError(
                    f"space.feature_weight {self.feature_weight} with space.{name} "
                    f"{getattr(self, name)}: a network that changes or has two widths matches no "
                    "maps; add 0.0 to feature_weight"
                )

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions that have a choice, in the order they are drawn."""
        every = (Dimension(name, tuple(getattr(self, name))) for name in DIMENSIONS)
        return tuple(d for d in every if len(d.choices) > 1)


def numbers(pattern: str) -> tuple[int, ...]:
    """Read a pattern such as ``16-32``.

    Args:
        pattern: positive integers joined by dashes.

    Returns:
        The integers.

    Raises:
        SpecError: it is something else.
    """
    parts = pattern.split("-")
    if not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise SpecError(f"pattern {pattern!r}: give whole numbers joined by dashes, such as 16-32")
    return tuple(int(p) for p in parts)


def anchor_params(space: Space, text: str) -> dict[str, Choice]:
    """The choices of one anchor; dimensions it does not name take their middle choice.

    Args:
        space: what can be chosen.
        text: ``name=choice`` pairs, separated by spaces.

    Returns:
        A choice for each dimension.

    Raises:
        SpecError: a name or choice is not in the space.
    """
    named = dict(pair.partition("=")[::2] for pair in text.split())
    for name in named:
        if name not in DIMENSIONS:
            raise SpecError(f"anchor {text!r}: no dimension {name!r}; {nearest(name, DIMENSIONS)}")
    chosen: dict[str, Choice] = {}
    for name in DIMENSIONS:
        choices = tuple(getattr(space, name))
        by_text = {str(c): c for c in choices}
        wanted = named.get(name, str(choices[len(choices) // 2]))
        if wanted not in by_text:
            hint = nearest(wanted, by_text)
            raise SpecError(f"anchor {text!r}: {name} has no {wanted!r}; {hint}")
        if len(choices) > 1:
            chosen[name] = by_text[wanted]
    return chosen


def anchors(space: Space) -> list[dict[str, Choice]]:
    """What a search tries first: what the space names, or its cheapest, middle and dearest.

    Args:
        space: what can be chosen.

    Returns:
        Choices by dimension, one dictionary a candidate.
    """
    if space.anchors == UNANCHORED:
        return []
    if space.anchors:
        return [anchor_params(space, text) for text in space.anchors]
    ends = [{d.name: d.choices[i] for d in space.dimensions} for i in (0, -1)]
    return [ends[0], anchor_params(space, ""), ends[1]]
