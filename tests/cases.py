"""The table of optimizers that drives every test of all of them, and the oracle: the rules' own Python."""

import numpy as np

import fastopt as fo
from fastopt.engine.interpreted import advance

CASES = {
    "sgd": (fo.SGD, {"lr": 0.1}),
    "sgd-l2-maximize": (fo.SGD, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    "momentum": (fo.SGD, {"lr": 0.1, "momentum": 0.9}),
    "momentum-dampening": (fo.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    "nesterov": (fo.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (fo.Adam, {"lr": 0.01}),
    "adam-options": (fo.Adam, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1, "maximize": True}),
    "amsgrad": (fo.Adam, {"lr": 0.01, "amsgrad": True}),
    "adamw": (fo.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "adamw-amsgrad": (fo.AdamW, {"lr": 0.01, "amsgrad": True}),
    "rmsprop": (fo.RMSprop, {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop-momentum": (fo.RMSprop, {"lr": 0.01, "momentum": 0.9}),
    "rmsprop-centered": (fo.RMSprop, {"lr": 0.01, "centered": True}),
    "rmsprop-centered-momentum": (fo.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5, "alpha": 0.9}),
    "nesterov-l2": (fo.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    "adamw-options": (fo.AdamW, {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-4, "weight_decay": 0.3, "maximize": True}),
    "rmsprop-options": (fo.RMSprop, {"lr": 0.01, "eps": 1e-3, "alpha": 0.8, "weight_decay": 0.1, "maximize": True}),
    "rmsprop-centered-l2": (fo.RMSprop, {"lr": 0.01, "centered": True, "weight_decay": 0.1, "eps": 1e-2}),
    "adagrad": (fo.Adagrad, {"lr": 0.1}),
    "adagrad-options": (fo.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    "adagrad-eps": (fo.Adagrad, {"lr": 0.1, "eps": 1e-3, "maximize": True}),
}


def data(n, dtype=np.float64, seed=0, scale=1.0):
    values = (np.random.default_rng(seed).standard_normal(n) * scale).astype(dtype)
    assert np.size(values) < 2 or np.ptp(values) > 0
    return values


def make(case, params, **options):
    cls, hyperparameters = CASES[case]
    return cls(params, **{**hyperparameters, **options})


class Oracle:
    """One parameter's steps through the Python functions of rules.py and stages.py."""

    def __init__(self, case, p):
        cls, hyperparameters = CASES[case]
        self.group = cls(np.zeros(1, p.dtype), **hyperparameters).groups[0]
        self.p, self.t = p.copy(), 0
        self.state = [np.full_like(p, cls.initial(self.group).get(k, 0)) for k in self.group.rule.state]

    def step(self, g, scale=1.0):
        self.t += 1
        with np.errstate(all="ignore"):
            g = g.astype(self.p.dtype)
        self.p, *self.state = advance(
            self.group.rule, self.group.stages, self.group.values_now(scale), self.t, self.p, g, self.state
        )


def same(a, b):
    """The same bits, where a NaN is a NaN."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    assert a.dtype == b.dtype and a.shape == b.shape
    bits = f"u{a.dtype.itemsize}"
    return bool(((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))).all())
