from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.claims import Claim, claim
from studies.session import Session, open_session


@pytest.mark.parametrize("scheme", ["sqlite:///{}/x.db", "journal:///{}/x.log"])
def test_claims_never_exceed_the_total_when_many_claim_at_once(
    make_session: Callable[..., Session], tmp_path: Path, scheme: str
) -> None:
    session = make_session(trials=5, storage=scheme.format(tmp_path))
    claimed: list[Claim] = []

    def take(index: int) -> None:
        own = open_session(session.config, tmp_path, index)
        with contextlib.closing(own.store):
            for _ in range(3):
                got = claim(own, f"host/{index}")
                if isinstance(got, Claim):
                    claimed.append(got)
                else:
                    assert got == "wait"

    threads = [threading.Thread(target=take, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 5
    assert len({c.candidate.hash for c in claimed}) == 5
    assert all(c.known is None for c in claimed)
    assert sorted(c.trial.number for c in claimed) == [0, 1, 2, 3, 4]
