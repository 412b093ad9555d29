"""Quality of generated images: the task's judge, and its figures as flat plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.data import Dataset
from ado_nas.errors import ModelError
from ado_nas.files import building
from ado_nas.progress import Progress, silent
from ado_nas.quality import features
from ado_nas.quality.features import FeatureNet
from ado_nas.quality.intervals import Replicates
from ado_nas.quality.judge import Judge, Quality, retention, retention_interval
from ado_nas.quality.nearest import memorizing
from ado_nas.quality.tasks import moment_noise
from ado_nas.specs import QualitySpec, digest


def cached_features(
    dataset: Dataset, spec: QualitySpec, cache: Path, progress: Progress = silent
) -> FeatureNet:
    """The task's feature network, trained once per cache key.

    Args:
        dataset: it is trained on its training split.
        spec: width, iterations and seed.
        cache: folder of all feature networks.
        progress: told while it trains.

    Returns:
        The network; one that was damaged on disk is trained again.
    """
    with building(features_folder(dataset, spec, cache)) as folder:
        try:
            return features.load(folder)
        except ModelError:
            net = features.train_features(dataset, spec, progress)
            features.save(net, folder)
            return net


def features_folder(dataset: Dataset, spec: QualitySpec, cache: Path) -> Path:
    """Where `cached_features` keeps the network, named by its cache key."""
    facts = [features.SCHEMA, spec.feature_width, spec.feature_iterations, spec.seed]
    return cache / digest("features", dataset.digest, facts)


def figures(quality: Quality) -> dict[str, Any]:
    """A judgment as flat values.

    Args:
        quality: what the judge found.

    Returns:
        Its fields, the interval as ``gap_low`` and ``gap_high``, without the replicates; and
        ``memorizing``.
    """
    values = dataclasses.asdict(quality)
    del values["replicates"]
    values["gap_low"], values["gap_high"] = values.pop("gap_interval")
    values["sample_count"] = values.pop("samples")
    return {**values, "memorizing": memorizing(quality.nearest_ratio)}


def compared(reference: Mapping[str, Any], quality: Quality) -> dict[str, float]:
    """How much of the reference's quality is kept.

    Args:
        reference: its figures with its ``replicates``, from the same judge and noise.
        quality: of other images.

    Returns:
        ``retention`` with the 95% interval ``retention_low`` to ``retention_high``.
    """
    gap, parts = reference["gap"], Replicates(**reference["replicates"])
    low, high = retention_interval(gap, parts, quality)
    kept = retention(gap, quality.floor, quality.gap)
    return {"retention": kept, "retention_low": low, "retention_high": high}


def gaussian(judge: Judge, dataset: Dataset) -> Quality:
    """The judgment of Gaussian pixels with the training images' mean and covariance.

    Args:
        judge: of the task.
        dataset: whose training split lends the moments.

    Returns:
        What an image model that learned nothing but moments would get.
    """
    rng = np.random.default_rng(judge.spec.seed)
    return judge.score(moment_noise(dataset.train.images, judge.spec.samples, rng))
