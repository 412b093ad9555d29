"""What a candidate is scored on, and how one is evaluated from spec to scores."""

import ado_nas  # noqa: F401  # starts the runtime before any module here imports MLX
