"""Where a study lies in a workspace."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ado_nas.errors import WorkspaceError


def study_folder(workspace: Path, study: str) -> Path:
    """The folder of a study: its config, trials and report."""
    return workspace / "studies" / study


def trial_folder(workspace: Path, study: str, number: int) -> Path:
    """The model folder of one trial."""
    return study_folder(workspace, study) / "trials" / str(number)


def artifact_folder(workspace: Path) -> Path:
    """The store of Optuna's artifacts, which the dashboard shows."""
    return workspace / "artifacts"


def open_workspace(workspace: Path) -> Path:
    """Make a workspace that can be written.

    Args:
        workspace: its folder, made where it is missing.

    Returns:
        Its absolute path.

    Raises:
        WorkspaceError: it is a file, or nothing can be written there.
    """
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workspace):
            pass
    except OSError as error:
        raise WorkspaceError(
            f"workspace {workspace} cannot be written ({error.strerror}); "
            "choose another with --workspace"
        ) from error
    return workspace.resolve()
