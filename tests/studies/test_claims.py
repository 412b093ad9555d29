from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from studies.claims import Claim
from studies.session import Session


@pytest.mark.parametrize("scheme", ["sqlite:///{}/x.db", "journal:///{}/x.log"])
def test_claims_never_exceed_the_total_when_many_claim_at_once(
    make_session: Callable[..., Session],
    claim_at_once: Callable[[Session], list[Claim]],
    tmp_path: Path,
    scheme: str,
) -> None:
    claimed = claim_at_once(make_session(trials=5, storage=scheme.format(tmp_path)))
    assert len({c.candidate.hash for c in claimed}) == len(claimed) == 5
    assert all(c.known is None for c in claimed)
    assert sorted(c.trial.number for c in claimed) == [0, 1, 2, 3, 4]
