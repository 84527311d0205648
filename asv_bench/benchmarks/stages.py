"""Stages around a rule: each alone, and the usual ones of a network."""

from .common import _Steps, bound

STAGES = {
    "none": {},
    "weight_decay": {"weight_decay": 0.01},
    "clip_value": {"clip_value": 1.0},
    "clip_norm": {"clip_norm": 1.0},
    "clip_global_norm": {"clip_global_norm": 1.0},
    "nonfinite": {"nonfinite": "skip"},
    "accumulate, four steps": {"accumulate": 4},
    "bounds": {"bounds": (-100.0, 100.0)},
    "step_scale": {"step_scale": 0.5},
    "max_step": {"max_step": 1.0},
    "trust_ratio": {"trust_ratio": 1.0},
    "ema": {"ema": 0.999},
    "norms": {"norms": True},
    "clip, decay, average": {"clip_global_norm": 1.0, "weight_decay": 0.01, "ema": 0.999},
}


class Stages(_Steps):
    params = (list(STAGES), [10_000, 10_000_000])
    param_names = ("stage", "elements")

    def make(self, stage, elements):
        optimizer = bound("AdamW", [(elements,)], **{"weight_decay": 0.0, **STAGES[stage]})
        if "accumulate" not in STAGES[stage]:
            return optimizer.step
        return lambda: [optimizer.step() for _ in range(4)]
