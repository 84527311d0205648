"""Callbacks: plateaus as torch finds them, products with schedules, and restart files."""

import math

import numpy as np
import pytest
import torch

import fastopt as fo
from fastopt.training import ReduceOnPlateau


@pytest.mark.parametrize("seed", range(20))
def test_plateaus_are_those_of_torch(seed):
    rng = np.random.default_rng(seed)
    options = {"factor": 0.5, "patience": int(rng.integers(0, 4)), "cooldown": int(rng.integers(0, 4))}
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, threshold=1e-2, min_lr=0.05, eps=0, **options)
    ours, plateau = fo.SGD(np.ones(1), lr=0.8), ReduceOnPlateau(min_delta=1e-2, minimum=0.05, **options)
    for loss in np.maximum.accumulate(rng.random(80)[::-1])[::-1] + 0.1 * rng.random(80) + 0.1:
        before = ours.lr
        reduced = plateau.update(ours, loss)
        scheduler.step(loss)
        assert ours.lr == theirs.param_groups[0]["lr"] and reduced == (ours.lr < before)
    assert ours.lr < 0.8


def test_losses_that_are_no_numbers_and_negative_ones():
    optimizer, plateau = fo.SGD(np.ones(1), lr=1.0), ReduceOnPlateau(factor=0.5, patience=1, min_delta=0.1)
    found = [plateau.update(optimizer, loss) for loss in (math.nan, -10.0, -10.5, -11.5, math.nan, math.inf, -20.0)]
    assert found == [False] * 5 + [True, False] and plateau.best == -20.0 and optimizer.lr == 0.5


def test_schedules_are_multiplied_in_every_group(tmp_path):
    def made():
        return fo.SGD([{"params": np.ones(1), "lr": fo.schedules.linear_decay(1.0, steps=10)}, {"params": np.ones(1), "lr": 0.5}])

    optimizer, plateau = made(), ReduceOnPlateau(factor=0.5, patience=0, minimum=0.2)
    for _ in range(4):
        optimizer.step([np.ones(1), np.ones(1)])
    assert [plateau.update(optimizer, 1.0) for _ in range(4)] == [False, True, True, False]
    assert optimizer.lr == [0.3, 0.2] and optimizer.groups[0]["lr"] == fo.schedules.linear_decay(1.0, steps=10) * 0.5
    optimizer.save(tmp_path / "a.npz", {"plateau": plateau.state_dict()})
    again, other = made(), ReduceOnPlateau(factor=0.5, patience=0, minimum=0.2)
    other.load_state_dict(again.load(tmp_path / "a.npz", hyperparameters="restore")["plateau"])
    assert again.lr == optimizer.lr and other.state_dict() == plateau.state_dict() and repr(other) == repr(plateau)


def test_functions_have_no_product():
    optimizer, plateau = fo.SGD(np.ones(1), lr=lambda step: 0.5), ReduceOnPlateau(patience=0)
    with pytest.raises(TypeError, match=r"lr: <function .*expected a number or a schedule of fastopt.schedules"):
        plateau.update(optimizer, 1.0)
    assert plateau.state_dict() == ReduceOnPlateau().state_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [("factor", 1.0), ("patience", -1), ("patience", 0.5), ("cooldown", True), ("min_delta", -1), ("minimum", math.nan)],
)
def test_wrong_arguments(name, value):
    with pytest.raises(ValueError, match=f"{name}: .*, expected"):
        ReduceOnPlateau(**{name: value})
    for wrong in (None, "1", fo.SGD(np.ones(1))):
        with pytest.raises(TypeError, match=r"loss: .*, expected a number"):
            ReduceOnPlateau().update(fo.SGD(np.ones(1)), wrong)


def test_many_reductions_of_a_schedule_are_one_product():
    optimizer, plateau = fo.SGD(np.ones(1), lr=fo.schedules.linear_decay(1.0, steps=10**6)), ReduceOnPlateau(0.99, patience=0)
    for _ in range(1000):
        plateau.update(optimizer, 1.0)
    optimizer.step(np.ones(1))
    assert math.isclose(optimizer.groups[0]["lr"].factor, 0.99**999) and len(repr(optimizer)) < 200
