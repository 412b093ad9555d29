"""How good generated images are: distances to held-out real images in a fixed feature network."""

from __future__ import annotations
