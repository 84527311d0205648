"""The table of optimizers that drives every test of all of them, and the oracle: the rules' own Python."""

import warnings

import numpy as np

import fastopt as fo
from fastopt.testing import reference_step

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
    "adam-switches": (fo.Adam, {"lr": 0.01, "eps_root": 1e-4, "eps_hat": True}),
    "amsgrad-corrected": (fo.Adam, {"lr": 0.01, "amsgrad": True, "max_corrected": True, "eps_root": 1e-6}),
    "momentum-lr-inside": (fo.SGD, {"lr": 0.1, "momentum": 0.9, "lr_in_velocity": True}),
    "nesterov-lr-inside": (fo.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "lr_in_velocity": True}),
    "rmsprop-inside": (fo.RMSprop, {"lr": 0.01, "momentum": 0.5, "eps_inside": True, "lr_in_velocity": True}),
    "adagrad-inside": (fo.Adagrad, {"lr": 0.1, "eps_inside": True, "initial_accumulator_value": 0.1}),
    "adadelta": (fo.Adadelta, {"lr": 1.0}),
    "adadelta-options": (fo.Adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    "adamax": (fo.Adamax, {"lr": 0.01}),
    "adamax-options": (fo.Adamax, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    "adamax-outside": (fo.Adamax, {"lr": 0.01, "eps_inside": False}),
    "nadam": (fo.NAdam, {"lr": 0.01}),
    "nadam-options": (fo.NAdam, {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
    "nadamw": (fo.NAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "radam": (fo.RAdam, {"lr": 0.01}),
    "radam-options": (fo.RAdam, {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    "radamw": (fo.RAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "adabelief": (fo.AdaBelief, {"lr": 0.01, "weight_decay": 0.1}),
    "yogi": (fo.Yogi, {"lr": 0.01}),
    "lion": (fo.Lion, {"lr": 0.01, "weight_decay": 0.1}),
    "signsgd": (fo.SignSGD, {"lr": 0.01}),
    "signum": (fo.SignSGD, {"lr": 0.01, "momentum": 0.9}),
    "rprop": (fo.Rprop, {"lr": 0.01}),
    "rprop-options": (fo.Rprop, {"lr": 0.01, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.1), "maximize": True}),
    "asgd": (fo.ASGD, {"lr": 0.01}),
    "asgd-options": (fo.ASGD, {"lr": 0.05, "lambd": 0.01, "alpha": 0.5, "t0": 3, "weight_decay": 0.1, "maximize": True}),
    "ftrl": (fo.FTRL, {"lr": 0.1, "l1": 0.05, "l2": 0.1}),
    "adan": (fo.Adan, {"lr": 0.01, "weight_decay": 0.1}),
    "adan-options": (fo.Adan, {"lr": 0.01, "weight_decay": 0.1, "no_prox": True, "eps_root": 1e-4, "short_look": True}),
    "adopt": (fo.ADOPT, {"lr": 0.01, "weight_decay": 0.1}),
    "adopt-decoupled": (fo.ADOPT, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "ademamix": (fo.AdEMAMix, {"lr": 0.01, "betas": (0.9, 0.99, 0.999), "weight_decay": 0.1, "warmup": 10}),
    "schedule-free-sgd": (fo.ScheduleFreeSGD, {"lr": 0.1, "weight_decay": 0.01, "warmup": 5}),
    "schedule-free-adamw": (fo.ScheduleFreeAdamW, {"lr": 0.01, "weight_decay": 0.1, "warmup": 5}),
    "schedule-free-from-zero": (fo.ScheduleFreeAdamW, {"lr": 0.01, "warmup": 5, "warmup_from_zero": True}),
    "lars": (fo.LARS, {"lr": 0.1, "weight_decay": 0.01, "trust_coefficient": 0.01}),
    "lamb": (fo.LAMB, {"lr": 0.01, "weight_decay": 0.1}),
    "dog": (fo.DoG, {"lr": 1.0, "reps_rel": 1e-3}),
    "adafactor": (fo.Adafactor, {"lr": 0.1, "weight_decay": 0.1}),
    "adafactor-options": (fo.Adafactor, {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-4, 1e-2), "d": 1.5, "eps_inside": True}),
    "muon": (fo.Muon, {"lr": 0.02}),
    "muon-options": (fo.Muon, {"lr": 0.02, "nesterov": False, "adjust_lr_fn": "match_rms_adamw", "momentum": 0.8}),
    "prodigy": (fo.Prodigy, {"lr": 1.0, "d0": 1e-3, "use_bias_correction": True, "growth_rate": 1.5}),
    "prodigy-coupled": (fo.Prodigy, {"lr": 1.0, "d0": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": False}),
    "prodigy-decay": (fo.Prodigy, {"lr": 1.0, "d0": 1e-3, "weight_decay": 0.1}),
}


ADAFACTOR, MUON = {"adafactor", "adafactor-options"}, {"muon", "muon-options"}
STAGE_OPTIONS = {  # of one stage each
    "clip_value": {"clip_value": 0.5},
    "clip_norm": {"clip_norm": 1.0},
    "clip_global_norm": {"clip_global_norm": 1.0},
    "trust_ratio": {"trust_ratio": 0.1},
    "max_step": {"max_step": 1e-3},
    "step_scale": {"step_scale": 0.5},
    "bounds": {"bounds": (-0.5, 0.75)},
    "ema": {"ema": 0.9},
    "zero": {"nonfinite": "zero"},
    "maximize": {"maximize": True},
}
PER_ARRAY = {"lars", "lamb"} | ADAFACTOR | MUON  # whose sums follow the arrays, so that a cut makes a difference


def data(n, dtype=np.float64, seed=0, scale=1.0):
    values = (np.random.default_rng(seed).standard_normal(n) * scale).astype(dtype)
    assert np.size(values) < 2 or np.ptp(values) > 0
    return values


def make(case, params, **options):
    cls, hyperparameters = CASES[case]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bounds of .* were outside, and are now on their bounds")
        return cls(params, **{**hyperparameters, **options})


def arrays_of(optimizer, name="0"):
    """A parameter's state as it is stored, without its numbers."""
    (parameter,) = (s for s in optimizer._parameters if s.name == name)
    return [a for a in parameter.state.values() if isinstance(a, np.ndarray)]


class Oracle:
    """One parameter's steps through the Python functions of optimizers and stages."""

    def __init__(self, case, p, **options):
        self.p = p.copy()
        self.optimizer = make(case, self.p, **options)

    @property
    def state(self):
        return list(self.optimizer._parameters[0].state.values())

    def step(self, g, scale=1.0):
        return reference_step(self.optimizer, g, scale=scale)


def snapshot(optimizer):
    return optimizer.fingerprint(), optimizer.steps, [dict(g) for g in optimizer.groups]


def same(a, b):
    """The same bits, where a NaN is a NaN."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.dtype.kind != "f":
        return bool((a == b).all())
    bits = f"u{a.dtype.itemsize}"
    return bool(((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))).all())
