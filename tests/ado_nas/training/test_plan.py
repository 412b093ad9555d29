from __future__ import annotations

import dataclasses

import pytest

from ado_nas import doctor
from ado_nas.diffusion.levels import karras_levels
from ado_nas.errors import OutOfMemory, SpecError
from ado_nas.measure import memory
from ado_nas.measure.cost import cost
from ado_nas.measure.footprint import sampling_bytes
from ado_nas.measure.operators import operators
from ado_nas.measure.predictor import Predictor
from ado_nas.measure.profile import profile_layers
from ado_nas.runtime import core_share
from ado_nas.specs import UNetSpec
from ado_nas.training import budget
from ado_nas.training.budget import accounting
from ado_nas.training.plan import plan

SPEC = UNetSpec(resolution=8, widths=(8, 8), attention=("none", "full"), head_dim=8, groups=4)
OUTSIDE = 100_000_000


def test_smaller_budgets_are_planned_in_smaller_parts_of_the_same_batch() -> None:
    roomy = plan(SPEC, 16, 1_000_000_000, outside=OUTSIDE)
    assert (roomy.rows, roomy.micro_batches, roomy.checkpointing) == (16, 1, False)
    tight = plan(SPEC, 16, roomy.process - 500_000, outside=OUTSIDE)
    assert tight.batch == 16 and tight.rows < 16 and tight.training < roomy.training
    assert tight.process <= roomy.process - 500_000


def test_on_cuda_the_whole_budget_is_for_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    here = plan(SPEC, 16, 1_000_000_000, outside=OUTSIDE)
    beside = here.process
    monkeypatch.setattr(memory, "own_memory", lambda: True)
    there = plan(SPEC, 16, int(1.2 * here.training))
    assert there.way == here.way and there.outside == 0
    assert there.process == there.training <= there.budget < beside


def test_sampling_is_planned_for_the_batch_that_is_sampled() -> None:
    few, many = (plan(SPEC, 4, 1_000_000_000, outside=OUTSIDE, sampled=n) for n in (None, 100))
    assert (few.sampled, many.sampled) == (4, 100) and few.training == many.training
    levels = karras_levels(2, 0.1, 10.0)
    assert many.sampling == sampling_bytes(SPEC, "ddim", levels, 100) > few.sampling
    tight = dataclasses.replace(many, budget=many.process - 1)
    assert len(doctor.planned(many)) == 1
    assert "sampling 100 at a time takes too much" in doctor.planned(tight)[1]


def test_budget_too_small_for_one_image_names_what_would_do() -> None:
    with pytest.raises(OutOfMemory, match=r"batch 1.*--memory-budget-mb 1\d\d .*--resolution 4"):
        plan(SPEC, 16, OUTSIDE, outside=OUTSIDE)
    with pytest.raises(SpecError, match="resolution 9"):
        plan(SPEC, 16, OUTSIDE, resolution=9, outside=OUTSIDE)


def test_layers_add_up_to_the_network() -> None:
    whole = cost(SPEC)
    layers = profile_layers(SPEC)
    assert sum(x.params for x in layers) == whole.params
    assert sum(x.macs for x in layers) == whole.macs
    assert sum(x.activation_bytes for x in layers) == whole.activation_bytes
    assert all(x.time_share is None for x in layers)


def test_shares_of_time_follow_the_table() -> None:
    slow = {o: 9.0 if o.kind == "conv" else 1.0 for o in operators(SPEC)}
    layers = profile_layers(SPEC, Predictor(16, slow))
    shares = {x.layer: x.time_share or 0.0 for x in layers}
    assert 0.9 < sum(shares.values()) < 1
    # A convolution with its addition or by itself, against a norm with its activation.
    assert shares["conv_out"] == pytest.approx(4.5 * shares["conv_norm_out"], rel=0.01)


def test_doctor_plans_a_network_and_says_what_does_not_suit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ADO_FAKE_DEVICE", "m1")
    spec = dataclasses.replace(SPEC, widths=(8, 12), head_dim=4)
    found = doctor.examine(doctor.Patient(spec, 4))
    assert found["plan"]["rows"] == 4 and len(found["layers"]) > 20
    budget = found["device"]["memory_budget_bytes"] / 1e6
    assert found["plan"]["budget_mb"] == round(budget, 1)  # a Mac has one worker
    text = "\n".join(found["recommendations"])
    assert "train 4 images of 8 px at once" in text
    assert "widths [8, 12] are no multiples of 16" in text
    assert "head_dim 4 is not fused here; 64 is" in text


def test_students_share_the_device_as_the_workers_of_a_search_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ADO_FAKE_DEVICE", "cpu")
    monkeypatch.setattr(doctor.runtime, "default_workers", lambda: 2)
    monkeypatch.delattr(budget._local, "account", raising=False)  # of other tests
    teacher, student = (
        doctor.examine(doctor.Patient(SPEC, 4, alone=alone)) for alone in (True, False)
    )
    whole = teacher["device"]["memory_budget_bytes"]
    assert teacher["plan"]["budget_mb"] == round(whole / 1e6, 1)
    whole = student["device"]["memory_budget_bytes"]  # memory may have come free since
    assert student["plan"]["budget_mb"] == round(whole / 2e6, 1)
    assert student["memory"]["worker_budget_gb"] == round(whole / 2e9, 1)
    with core_share(2), accounting() as account:
        whole = doctor.real().memory_budget_bytes
        assert account.budget == pytest.approx(whole / 2, rel=0.1)
    given = doctor.examine(doctor.Patient(SPEC, 4, budget_mb=900.0, alone=False))
    assert given["plan"]["budget_mb"] == 900.0
