"""The engine of ADO-NAS: diffusion models in MLX, how they are trained, distilled and judged.

Importing it, or any module of it, first makes MLX fast on this machine (`runtime.start`).
"""

from __future__ import annotations

from ado_nas import runtime

runtime.start()
