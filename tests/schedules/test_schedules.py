"""Schedules: those of torch, Keras and optax, step by step; values at their bounds; dicts, files, products and pictures."""

import json
import math
import os
import pickle
import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

import fastopt as fo
from fastopt import schedules
from fastopt.schedules import base

ALL = {
    "constant": schedules.constant(0.5),
    "linear": schedules.linear_decay(0.5, 20, 0.05),
    "rising": schedules.linear_decay(0.1, 20, 0.5),
    "polynomial": schedules.polynomial_decay(0.5, 20, 0.05, power=2),
    "cosine": schedules.cosine_decay(0.5, 20, 0.05),
    "exponential": schedules.exponential_decay(0.5, 0.9, every=3),
    "steps": schedules.exponential_decay(0.5, 0.9, every=4, staircase=True),
    "inverse time": schedules.inverse_time(0.5, 0.3, every=4),
    "inverse time in steps": schedules.inverse_time(0.5, 0.3, every=4, staircase=True),
    "inverse root": schedules.inverse_sqrt(0.5, 6),
    "inverse scaling": schedules.inverse_scaling(0.5, 0.3),
    "multistep": schedules.multistep(0.5, [5, 9], gamma=0.3),
    "one milestone": schedules.multistep(0.5, [5]),
    "no milestone": schedules.multistep(0.5, []),
    "constants": schedules.piecewise_constant([5, 9], [0.5, 0.1, 0.2]),
    "lines": schedules.piecewise_linear([3, 10, 20], [0.1, 0.5, 0.0]),
    "restarts": schedules.cosine_restarts(0.5, 7, final=0.05),
    "growing restarts": schedules.cosine_restarts(0.5, 3, factor=2, final=0.05),
    "one cycle": schedules.one_cycle(0.5, 30),
    "linear cycle": schedules.one_cycle(0.5, 31, warm=0.25, divide=10, final_divide=100, shape="linear"),
    "triangular": schedules.cyclic(0.1, 0.5, up=4, down=6),
    "triangular2": schedules.cyclic(0.1, 0.5, up=4, shape="triangular2"),
    "exp_range": schedules.cyclic(0.1, 0.5, up=4, down=6, shape="exp_range", gamma=0.95),
    "warmup": schedules.warmup(schedules.exponential_decay(0.5, 0.9), 5, start=0.05),
    "trapezoid": schedules.warmup_stable_decay(0.5, 4, 5, 6, final=0.05),
    "join": schedules.join([schedules.constant(0.05), schedules.exponential_decay(0.5, 0.9), schedules.constant(0.1)], [5, 12]),
    "product": 3 * schedules.cosine_decay(0.5, 20) * 0.5,
}


def of_torch():
    torch = pytest.importorskip("torch")
    lr = torch.optim.lr_scheduler
    return {
        "linear": (20, lambda o: lr.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=20)),
        "polynomial of 0": (60, lambda o: lr.PolynomialLR(o, 20, power=2)),
        "cosine": (20, lambda o: lr.CosineAnnealingLR(o, 20, eta_min=0.05)),
        "exponential of one": (60, lambda o: lr.ExponentialLR(o, 0.9)),
        "steps": (60, lambda o: lr.StepLR(o, 4, gamma=0.9)),
        "multistep": (60, lambda o: lr.MultiStepLR(o, [5, 9], gamma=0.3)),
        "restarts": (60, lambda o: lr.CosineAnnealingWarmRestarts(o, 7, eta_min=0.05)),
        "growing restarts": (60, lambda o: lr.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.05)),
        "one cycle": (29, lambda o: lr.OneCycleLR(o, 0.5, total_steps=30, cycle_momentum=False)),
        "linear cycle": (30, linear_cycle(lr)),
        "triangular": (60, lambda o: lr.CyclicLR(o, 0.1, 0.5, 4, 6, cycle_momentum=False)),
        "triangular2": (60, lambda o: lr.CyclicLR(o, 0.1, 0.5, 4, mode="triangular2", cycle_momentum=False)),
        "exp_range": (60, lambda o: lr.CyclicLR(o, 0.1, 0.5, 4, 6, mode="exp_range", gamma=0.95, cycle_momentum=False)),
        "warmup": (60, lambda o: lr.SequentialLR(o, [lr.LinearLR(o, 0.1, 1.0, 5), lr.ExponentialLR(o, 0.9)], [5])),
    }


def linear_cycle(lr):
    options = {"total_steps": 31, "pct_start": 0.25, "div_factor": 10, "final_div_factor": 100}
    return lambda o: lr.OneCycleLR(o, 0.5, anneal_strategy="linear", cycle_momentum=False, **options)


OTHERS = {
    "polynomial of 0": schedules.polynomial_decay(0.5, 20, power=2),
    "exponential of one": schedules.exponential_decay(0.5, 0.9),
}


@pytest.mark.parametrize("name", of_torch())
def test_torch(name):
    import torch

    steps, make = of_torch()[name]
    ours = {**ALL, **OTHERS}[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = make(optimizer)
        for t in range(steps + 1):
            assert math.isclose(ours(t), optimizer.param_groups[0]["lr"], rel_tol=1e-12), t
            optimizer.step()
            if t < steps:
                scheduler.step()


def of_keras(keras):
    s = keras.optimizers.schedules
    return {
        "polynomial": s.PolynomialDecay(0.5, 20, 0.05, power=2),
        "cosine": s.CosineDecay(0.5, 20, alpha=0.1),
        "exponential": s.ExponentialDecay(0.5, 3, 0.9),
        "steps": s.ExponentialDecay(0.5, 4, 0.9, staircase=True),
        "inverse time": s.InverseTimeDecay(0.5, 4, 0.3),
        "inverse time in steps": s.InverseTimeDecay(0.5, 4, 0.3, staircase=True),
        "constants": s.PiecewiseConstantDecay([4, 8], [0.5, 0.1, 0.2]),
        "restarts": s.CosineDecayRestarts(0.5, 7, t_mul=1.0, alpha=0.1),
    }


def test_keras(monkeypatch):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "numpy")
    for name, theirs in of_keras(pytest.importorskip("keras")).items():
        for t in range(61):
            # Keras computes in float32.
            assert math.isclose(ALL[name](t), float(theirs(t)), rel_tol=2e-6), (name, t)


def test_optax():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        constant, falling = optax.constant_schedule, optax.exponential_decay(0.5, 1, 0.9)
        for name, theirs in {
            "linear": optax.linear_schedule(0.5, 0.05, 20),
            "polynomial": optax.polynomial_schedule(0.5, 0.05, 2, 20),
            "cosine": optax.cosine_decay_schedule(0.5, 20, alpha=0.1),
            "exponential": optax.exponential_decay(0.5, 3, 0.9),
            "steps": optax.exponential_decay(0.5, 4, 0.9, staircase=True),
            "multistep": optax.piecewise_constant_schedule(0.5, {5: 0.3, 9: 0.3}),
            "join": optax.join_schedules([constant(0.05), falling, constant(0.1)], [5, 12]),
            "warmup": optax.join_schedules([optax.linear_schedule(0.05, 0.5, 5), falling], [5]),
        }.items():
            for t in range(61):
                assert math.isclose(ALL[name](t), float(theirs(t)), rel_tol=1e-12), (name, t)


# Values at 0, before, at and after each boundary, at the end, and long after.
VALUES = {
    "linear": {0: 0.5, 19: 0.0725, 20: 0.05, 21: 0.05, 200: 0.05},
    "rising": {0: 0.1, 10: 0.3, 20: 0.5, 200: 0.5},
    "polynomial": {0: 0.5, 10: 0.1625, 20: 0.05, 200: 0.05},
    "cosine": {0: 0.5, 10: 0.275, 20: 0.05, 21: 0.05, 200: 0.05},
    "inverse root": {0: 0.5 / 6, 5: 0.5, 6: 0.5 * (6 / 7) ** 0.5, 23: 0.25},
    "inverse scaling": {0: 0.5, 1: 0.5 / 2**0.3},
    "multistep": {0: 0.5, 4: 0.5, 5: 0.15, 8: 0.15, 9: 0.045, 90: 0.045},
    "one milestone": {4: 0.5, 5: 0.05},
    "no milestone": {0: 0.5, 99: 0.5},
    "constants": {0: 0.5, 4: 0.5, 5: 0.1, 8: 0.1, 9: 0.2, 90: 0.2},
    "lines": {0: 0.1, 3: 0.1, 10: 0.5, 15: 0.25, 20: 0.0, 200: 0.0},
    "restarts": {0: 0.5, 7: 0.5, 14: 0.5, 7000: 0.5},
    "growing restarts": {0: 0.5, 3: 0.5, 9: 0.5, 21: 0.5, 3 * (2**30 - 1): 0.5},
    "one cycle": {0: 0.02, 8: 0.5, 29: 2e-6, 30: 2e-6, 300: 2e-6},
    "triangular": {0: 0.1, 4: 0.5, 10: 0.1, 14: 0.5, 1000: 0.1},
    "triangular2": {4: 0.5, 12: 0.3, 20: 0.2},
    "warmup": {0: 0.05, 5: 0.5, 6: 0.45},
    "trapezoid": {0: 0.0, 4: 0.5, 8: 0.5, 9: 0.5, 12: 0.275, 15: 0.05, 150: 0.05},
    "join": {0: 0.05, 4: 0.05, 5: 0.5, 6: 0.45, 11: 0.5 * 0.9**6, 12: 0.1, 120: 0.1},
    "product": {0: 0.75, 20: 0.0},
}


@pytest.mark.parametrize("name", VALUES)
def test_values_at_boundaries(name):
    for t, value in VALUES[name].items():
        assert math.isclose(ALL[name](t), value, rel_tol=1e-12, abs_tol=1e-15), t


@pytest.mark.parametrize("name", ALL)
def test_every_schedule(name):
    schedule = ALL[name]
    at = np.arange(60).reshape(3, 4, 5)
    values = schedule(at)
    assert values.dtype == np.float64 and values.shape == at.shape and schedule(np.empty((0, 2))).shape == (0, 2)
    assert values.tolist() == [[[schedule(int(t)) for t in row] for row in block] for block in at]
    assert all(type(schedule(t)) is float for t in (3, 3.0, np.int64(3), np.float32(3)))
    for wrong in (-1, math.nan, np.array([3, -1])):
        with pytest.raises(ValueError, match=r"expected (a step|steps) from 0 on"):
            schedule(wrong)
    again = schedules.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule and hash(again) == hash(schedule) and (again(at) == values).all()
    assert pickle.loads(pickle.dumps(schedule)) == schedule and eval(repr(schedule), vars(schedules).copy()) == schedule
    assert ((schedule * 2)(at) == values * 2).all() and (0.5 * schedule)(3) == schedule(3) * 0.5 == (schedule / 2)(3)
    assert (schedule([0, 5]) == [schedule(0), schedule(5)]).all()
    with pytest.raises(TypeError):
        schedule * np.ones(2)


@pytest.mark.parametrize("name", ALL)
def test_steps_resume_and_files_restore(name, tmp_path):
    def made(lr):
        return fo.SGD(np.ones(3), lr=lr)

    whole, half = made(ALL[name]), made(ALL[name])
    for _ in range(13):
        whole.step(np.ones(3))
    for _ in range(6):
        half.step(np.ones(3))
    half.save(tmp_path / "a.npz")
    other = made(0.25)
    with pytest.raises(ValueError, match=r"lr of group 0: saved .*, here 0.25; say .*'restore'"):
        other.load(tmp_path / "a.npz")
    other.load(tmp_path / "a.npz", hyperparameters="restore")
    assert other.groups[0]["lr"] == ALL[name] and other.lr == ALL[name](6)
    for _ in range(7):
        other.step(np.ones(3))
    assert other.fingerprint() == whole.fingerprint()


def test_files_without_arguments_load_as_they_did():
    optimizer = fo.SGD(np.ones(3), lr=ALL["linear"])
    state = optimizer.state_dict()
    assert state["groups"][0]["lr"].pop("arguments") == ALL["linear"].to_dict()
    optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match=r"linear_decay\(.*\) cannot be restored"):
        fo.SGD(np.ones(3), lr=0.5).load_state_dict(state, hyperparameters="restore")
    state["groups"][0]["lr"]["arguments"] = {"name": "linear_decay", "initial": "a", "steps": 3}
    with pytest.raises(ValueError, match="expected a number"):
        fo.SGD(np.ones(3), lr=0.5).load_state_dict(state, hyperparameters="restore")


@dataclass(frozen=True)
class Own(schedules.Schedule):
    table: dict

    def __post_init__(self):
        pass

    def function(self):
        return lambda step: self.table[step]


def test_a_users_own_schedule_with_other_fields_is_saved_as_text(tmp_path):
    own = Own({0: 0.5, 1: 0.25})
    with pytest.raises(TypeError, match="a field of dict"):
        own.to_dict()
    optimizer = fo.SGD(np.ones(3), lr=own)
    optimizer.step(np.ones(3))
    optimizer.save(tmp_path / "a.npz")
    optimizer.load(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"Own\(.*cannot be restored"):
        fo.SGD(np.ones(3)).load(tmp_path / "a.npz", hyperparameters="restore")


def test_numbers_are_pythons_own():
    made = schedules.multistep(np.float32(0.5), np.array([5, 9]), gamma=Fraction(3, 10))
    assert made == ALL["multistep"] and repr(made) == repr(ALL["multistep"]) and made(5) == 0.15
    assert type(schedules.exponential_decay(1, 0.5, staircase=np.True_).staircase) is bool


def test_plots():
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    assert ALL["cosine"].plot(25, axes) is axes
    (line,) = axes.lines
    assert line.get_xdata().tolist() == list(range(25)) and line.get_ydata().tolist() == ALL["cosine"](np.arange(25)).tolist()
    assert axes.get_xlabel() == "step" and line.get_label() == "cosine_decay"
    assert len(ALL["cosine"].plot(10**6, axes).lines[1].get_xdata()) == 2000


OTHER_NAMES = ("Schedule", "from_dict")


def test_all_schedules_are_tested():
    assert (
        {type(s).__name__ for s in ALL.values()} == set(base.KINDS) - {"Own"} == set(schedules.__all__) - {"Schedule", "from_dict"}
    )


WRONG = [
    (ValueError, "cyclic: up=0, expected at least 1", lambda: schedules.cyclic(0, 1, up=0)),
    (ValueError, "cyclic: shape='sine', expected one of 'triangular'", lambda: schedules.cyclic(0, 1, up=1, shape="sine")),
    (ValueError, "multistep: milestones=.5, 3., expected rising steps from 0 on", lambda: schedules.multistep(1, [5, 3])),
    (TypeError, "multistep: milestones=5, expected a sequence", lambda: schedules.multistep(1, 5)),
    (TypeError, r"multistep: milestones\[0\]='5', expected a number", lambda: schedules.multistep(1, ["5"])),
    (ValueError, "piecewise_constant: boundaries=.0,., expected rising steps", lambda: schedules.piecewise_constant([0], [1, 2])),
    (ValueError, "piecewise_constant: values=.*, expected 2 of them", lambda: schedules.piecewise_constant([5], [1])),
    (ValueError, r"piecewise_linear: steps=\(\), expected at least one", lambda: schedules.piecewise_linear([], [])),
    (ValueError, "one_cycle: steps=1, expected at least 2", lambda: schedules.one_cycle(1, 1)),
    (ValueError, "one_cycle: warm=2, expected a fraction between 0 and 1", lambda: schedules.one_cycle(1, 9, warm=2)),
    (ValueError, "one_cycle: divide=0, expected more than 0", lambda: schedules.one_cycle(1, 9, divide=0)),
    (TypeError, "warmup: schedule=0.1, expected a schedule of fastopt.schedules", lambda: schedules.warmup(0.1, 5)),
    (ValueError, r"join: schedules=\(\), expected at least one", lambda: schedules.join([], [])),
    (ValueError, "join: boundaries=.*, expected 1 of them", lambda: schedules.join([ALL["linear"]] * 2, [])),
    (TypeError, "exponential_decay: staircase='yes', expected True", lambda: schedules.exponential_decay(1, 0.5, staircase="yes")),
    (ValueError, "constant: value=1000.*, expected a finite number", lambda: schedules.constant(10**400)),
    (ValueError, "constant: value=nan, expected a finite number", lambda: schedules.constant(math.nan)),
    (TypeError, "constant: value='1', expected a number", lambda: schedules.constant("1")),
    (ValueError, "cosine_decay: steps=0, expected at least 1", lambda: ALL["cosine"].__class__(1, 0)),
    (ValueError, "cosine_decay: steps=0, expected at least 1", lambda: ALL["cosine"].plot(0)),
    (ValueError, r"schedule: no name 'sine', expected one of .*constant", lambda: schedules.from_dict({"name": "sine"})),
    (ValueError, "schedule: no name None", lambda: schedules.from_dict([])),
    (TypeError, r"can't multiply sequence|unsupported operand", lambda: ALL["linear"] * "2"),
]


@pytest.mark.parametrize(("error", "message", "call"), WRONG)
def test_wrong_arguments(error, message, call):
    with pytest.raises(error, match=message):
        call()
