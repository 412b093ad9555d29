from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas.errors import Diverged, OutOfMemory
from ado_nas.models.unet import UNet, build_unet
from ado_nas.specs import UNetSpec
from ado_nas.training import budget
from ado_nas.training.budget import accounting, held, in_parts, smaller
from ado_nas.training.step import WHOLE, Stepper, Way, schedule

SPEC = UNetSpec(resolution=8, widths=(8, 8), attention=("none", "none"), activation="relu")
SHAPE = (8, 8, 8, 1)


def loss(model: UNet, x: mx.array, target: mx.array) -> mx.array:
    return mx.square(model(x, mx.array([0.1])) - target).mean()


def stepper() -> Stepper:
    return Stepper(build_unet(SPEC), loss, schedule(1e-2, 0, 10), 0.9)


def batch(seed: int = 0) -> tuple[mx.array, mx.array]:
    rng = np.random.default_rng(seed)
    x, target = (mx.array(rng.standard_normal(SHAPE, dtype=np.float32)) for _ in range(2))
    return x, target


def by_rows(made: Stepper) -> int:
    return 1_000_000 * (made.ways[SHAPE].rows or SHAPE[0])


def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """No prediction: the whole batch is tried."""
    monkeypatch.setattr(budget.Account, "_chosen", lambda *_: (WHOLE, None))
    monkeypatch.setattr(budget, "outside_bytes", lambda: 0)


def test_a_step_that_took_too_much_is_repeated_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, made = stepper(), stepper()
    expected = [plain(*batch(i)) for i in range(3)]
    whole(monkeypatch)
    monkeypatch.setattr(mx, "get_peak_memory", lambda: by_rows(made))
    with accounting(28) as account:  # 2.5 MB for arrays
        found = [held(made, batch(i)) for i in range(3)]
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(made.vector, plain.vector, atol=1e-5)
    assert made.iteration == 3 and made.ways[SHAPE] == Way(2)
    assert [c["rows"] for c in account.changes] == [[8, 4], [4, 2]]
    assert {c["iteration"] for c in account.changes} == {0}
    (plan,) = account.facts()["plans"]
    assert plan["measured_mb"] == 2.0


def test_an_allocation_that_fails_is_mended_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stepper()
    whole(monkeypatch)
    advance = made.advance

    def failing(*arrays: mx.array, **options: Any) -> mx.array:
        advance(*arrays, **options)
        raise RuntimeError("[malloc] Unable to allocate 8 bytes.")

    monkeypatch.setattr(made, "advance", failing)
    with accounting(1e6) as account:
        held(made, batch())
    assert made.iteration == 1 and account.changes[0]["rows"] == [8, 4]
    plain = stepper()
    plain(*batch())
    np.testing.assert_allclose(made.vector, plain.vector, atol=1e-5)


def test_other_errors_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole(monkeypatch)
    x, target = batch()
    with accounting(1e6), pytest.raises(Diverged):
        held(stepper(), (x, target * float("nan")))
    with accounting(1e6), pytest.raises(ValueError, match="broadcast"):
        held(stepper(), (x, target[:, :3]))


def test_what_cannot_be_cut_further_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole(monkeypatch)
    made = stepper()
    before = np.array(made.vector)
    monkeypatch.setattr(mx, "get_peak_memory", lambda: 9_000_000)
    with accounting(3) as account, pytest.raises(OutOfMemory, match="--memory-budget-mb 40"):
        held(made, batch())
    assert account.changes[-1]["checkpointing"] == [False, True]
    np.testing.assert_array_equal(made.vector, before)


def test_plan_is_predicted_where_the_budget_is_given_and_holds() -> None:
    made = stepper()
    with accounting(1e6) as account:
        held(made, batch())
    (plan,) = account.facts()["plans"]
    assert made.ways[SHAPE] == WHOLE and not account.changes
    assert plan["rows"] == 8 and not plan["checkpointing"]
    assert plan["predicted_mb"] == pytest.approx(plan["measured_mb"], rel=0.5)


def test_step_of_more_than_one_network_is_planned_without_a_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predicted = []
    for rough in (0, None):
        monkeypatch.setattr(budget, "_rough", lambda *_, rough=rough: rough)
        with accounting() as account:
            held(stepper(), batch())
        predicted += [plan["predicted_mb"] for plan in account.facts()["plans"]]
    assert predicted[0] is None and predicted[1] > 0


def test_peak_is_the_highest_of_all_networks_that_a_student_was() -> None:
    with accounting() as account:
        held(stepper(), batch())
        account.measured(SHAPE, 10**12)
        held(stepper(), batch())
    (plan,) = account.facts()["plans"]
    assert plan["measured_mb"] == 10**6


def test_a_small_budget_is_refused_with_what_would_do() -> None:
    with accounting(1), pytest.raises(OutOfMemory, match=r"too small for batch 1.*or more"):
        held(stepper(), batch())


@pytest.fixture(autouse=True)
def _no_account_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(budget._local, "account", raising=False)


def test_inner_accounts_have_the_outer_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "outside_bytes", lambda: 5_000_000)
    with accounting(42) as outer, accounting() as inner:
        assert (inner.budget, inner.limit, inner.given) == (outer.budget, 10_000_000, True)
    monkeypatch.setenv("ADO_MEMORY_SHARES", "4")
    with accounting() as shared:
        assert shared.budget == pytest.approx(budget.real().memory_budget_bytes / 4, rel=1e-6)
        assert not shared.given


def test_work_beyond_the_budget_is_done_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "outside_bytes", lambda: 0)

    def ones(rows: int) -> int:
        mx.eval(mx.zeros((rows, 100_000)) + 1)
        return rows

    assert in_parts("making ones", 8, ones) == 8  # without a budget
    room = mx.get_active_memory() + 900_000  # other tests' arrays live on
    monkeypatch.setattr(budget.Account, "limit", property(lambda _: room))
    with accounting(26) as account:
        assert in_parts("making ones", 8, ones) == 2
        assert [c["rows"] for c in account.changes] == [[8, 4], [4, 2]]
        with pytest.raises(OutOfMemory, match=r"ones 1 at a time took \d MB .* of 26 MB"):
            in_parts("making ones", 2, lambda rows: ones(10 * rows))


def test_smaller_ways_end_with_one_row_and_checkpointing() -> None:
    way: Way | None = WHOLE
    found = []
    while (way := smaller(way, 8)) is not None:
        found.append(way)
    assert found == [Way(4), Way(2), Way(1), Way(1, True)]
    assert smaller(WHOLE, 12, grain=4) == Way(4) and smaller(Way(4, True), 12, grain=4) is None
