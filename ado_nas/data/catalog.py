"""The datasets by name: listing, checking, building, loading and verifying them."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType

from ado_nas.data import digits, folder, manifest, shapes
from ado_nas.data.dataset import Dataset
from ado_nas.errors import DataError, NegativeVerdict
from ado_nas.specs import DataSpec, digest

_log = logging.getLogger(__name__)

_NAMED = {"digits": digits, "shapes": shapes}


def datasets() -> list[dict[str, str]]:
    """The sets that have a name, each with its description and resolutions."""
    return [
        {
            "name": "digits",
            "description": "1,797 handwritten digits of scikit-learn, grey, 10 classes",
            "resolutions": "8, 16, 32",
        },
        {
            "name": "shapes",
            "description": f"procedural RGB images, unlimited; classes: {', '.join(shapes.KINDS)}",
            "resolutions": "8 to 256",
        },
        {
            "name": "FOLDER",
            "description": "PNG and JPEG files in a folder of yours; sub-folders are classes",
            "resolutions": "4 to 1024",
        },
    ]


def check(spec: DataSpec) -> None:
    """Refuse what cannot be loaded, before any work and without reading an image.

    Raises:
        DataError: the name, resolution, count or share cannot be served.
    """
    if not 0 < spec.held_out < 1:
        raise DataError(f"held_out {spec.held_out}: give a share above 0 and below 1, such as 0.4")
    if spec.count < 0 or spec.seed < 0:
        raise DataError(f"count {spec.count} and seed {spec.seed}: neither may be negative")
    _module(spec).check(spec)


def load(spec: DataSpec, cache: Path) -> Dataset:
    """Load a dataset, built once and kept below `cache`.

    Args:
        spec: which set, at which resolution, split how.
        cache: the workspace's cache folder.

    Returns:
        Images in [-1, 1], labels where there are some, and the digest of all.

    Raises:
        DataError: the set cannot be served.
        WorkspaceError: the cache cannot be written.
    """
    check(spec)
    kept = _place(spec, cache)
    if (kept / manifest.MANIFEST).exists():
        try:
            return manifest.read(kept / manifest.MANIFEST)
        except (DataError, NegativeVerdict) as error:
            _log.warning("%s", error)
    dataset = manifest.assemble(spec, _module(spec).read(spec))
    manifest.write(dataset, kept)
    return dataset


def build(spec: DataSpec, cache: Path) -> Path:
    """Build a dataset if it is not there yet.

    Returns:
        Path of its manifest.
    """
    load(spec, cache)
    return _place(spec, cache) / manifest.MANIFEST


def verify(path: Path) -> Dataset:
    """Check a built dataset against its manifest, and a folder's files against theirs.

    Args:
        path: of the manifest, or of the folder that holds it.

    Returns:
        The dataset, known to be whole.

    Raises:
        DataError: there is no readable dataset.
        NegativeVerdict: its arrays, or the files it was made from, differ from the manifest.
    """
    path = path / manifest.MANIFEST if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"no manifest at {path}; `data build` makes one")
    dataset = manifest.read(path)
    recorded = dataset.manifest.get("files")
    if recorded is not None and Path(dataset.spec.name).is_dir():
        _verify_files(Path(dataset.spec.name), recorded)
    return dataset


def _verify_files(place: Path, recorded: dict[str, str]) -> None:
    changed = folder.changed(place, recorded)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise NegativeVerdict(
            f"{place}: {', '.join(changed[:3])}{more} changed since the dataset was built; "
            "build it again"
        )


def _place(spec: DataSpec, cache: Path) -> Path:
    module = _module(spec)
    content = "" if spec.name in _NAMED else folder.fingerprint(Path(spec.name))
    return cache / "data" / digest(spec, module.VERSION, manifest.SCHEMA, content)


def _module(spec: DataSpec) -> ModuleType:
    return _NAMED.get(spec.name, folder)
