"""The datasets by name: listing, checking, building, loading and verifying them."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from types import ModuleType

from ado_nas.data import digits, folder, manifest, patches, pyramid, shapes
from ado_nas.data.dataset import Dataset, Source
from ado_nas.errors import DataError, NegativeVerdict, WorkspaceError
from ado_nas.specs import DataSpec, digest

_NAMED = {"digits": digits, "patches": patches, "shapes": shapes}


def datasets() -> list[dict[str, str]]:
    """The sets that have a name, each with its description and resolutions."""
    return [
        {
            "name": "digits",
            "description": "1,797 handwritten digits of scikit-learn, gray, 10 classes",
            "resolutions": "8, 16, 32",
        },
        {
            "name": "patches",
            "description": "RGB crops of scikit-learn's two photos at several scales, unlimited; "
            f"held out by region; classes: {', '.join(patches.PHOTOS)}",
            "resolutions": f"8 to {max(patches.WINDOWS)}",
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
    if _built(spec):
        manifest.check(Path(spec.name) / manifest.MANIFEST, spec)
        return
    if not 0 < spec.held_out < 1:
        raise DataError(f"held_out {spec.held_out}: give a share above 0 and below 1, such as 0.4")
    if spec.count < 0 or spec.seed < 0:
        raise DataError(f"count {spec.count} and seed {spec.seed}: neither may be negative")
    if spec.channels not in (0, 1, 3):
        raise DataError(f"channels {spec.channels}: give 1 (gray) or 3 (RGB), or 0 for the files'")
    if spec.channels and spec.name in _NAMED:
        raise DataError(
            f"channels {spec.channels} with {spec.name}: only folders are converted; leave it out"
        )
    if spec.flips and spec.name != "patches":
        raise DataError(f"flips with {spec.name or 'no data'}: only patches are mirrored so far")
    if spec.averaged_from:
        pyramid.check(spec.averaged_from, spec.resolution)
        spec = _whole(spec)
    _module(spec).check(spec)


def load(spec: DataSpec, cache: Path) -> Dataset:
    """Load a dataset, built once and kept below `cache`.

    Args:
        spec: which set, at which resolution, split how; one whose name is the folder of a built
            dataset is read as it is there.
        cache: the workspace's cache folder.

    Returns:
        Images in [-1, 1], labels where there are some, and the digest of all.

    Raises:
        DataError: the set cannot be served.
        WorkspaceError: the cache cannot be written.
    """
    check(spec)
    if _built(spec):
        return manifest.read(Path(spec.name) / manifest.MANIFEST)
    if spec.averaged_from:
        return pyramid.at(load(_whole(spec), cache), spec.resolution)
    return manifest.kept(spec, _place(spec, cache), lambda: _read(spec, cache))


def build(spec: DataSpec, cache: Path) -> Path:
    """Build a dataset if it is not there yet.

    Returns:
        Path of its manifest.
    """
    place = load(spec, cache).folder
    assert place is not None
    return place / manifest.MANIFEST


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
    recorded, place = dataset.manifest.get("files"), _files_folder(dataset.spec)
    if recorded is not None and place.is_dir():
        _verify_files(place, recorded)
    return dataset


def _verify_files(place: Path, recorded: dict[str, str]) -> None:
    changed = folder.changed(place, recorded)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise NegativeVerdict(
            f"{place}: {', '.join(changed[:3])}{more} changed since the dataset was built; "
            "build it again"
        )


def _built(spec: DataSpec) -> bool:
    """Whether the name is the folder of a dataset that was built before."""
    parts = manifest.MANIFEST, manifest.ARRAYS
    return bool(spec.name) and all((Path(spec.name) / part).is_file() for part in parts)


def _place(spec: DataSpec, cache: Path) -> Path:
    return cache / "data" / digest(spec, _module(spec).VERSION, manifest.SCHEMA, _content(spec))


def _read(spec: DataSpec, cache: Path) -> Source:
    if spec.name in _NAMED:
        source: Source = _NAMED[spec.name].read(spec)
        return source
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache) as spool:
            return folder.read(spec, spool)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {cache}: {error.strerror}; check permissions and space"
        ) from error


def _whole(spec: DataSpec) -> DataSpec:
    """What a level is averaged from."""
    return dataclasses.replace(spec, resolution=spec.averaged_from, averaged_from=0)


def _content(spec: DataSpec) -> str:
    """What the files say that a set is made from; empty where it is made from none."""
    if spec.name == "patches":
        return patches.fingerprint()
    return "" if spec.name in _NAMED else folder.fingerprint(Path(spec.name))


def _files_folder(spec: DataSpec) -> Path:
    if spec.name == "patches":
        return next(iter(patches.files().values())).parent
    return Path(spec.name)


def _module(spec: DataSpec) -> ModuleType:
    return _NAMED.get(spec.name, folder)
