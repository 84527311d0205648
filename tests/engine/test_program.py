"""One program of a step: the compiled engine composes, in C, the operations that Python says."""

import numpy as np
import pytest
from cases import CASES, MUON, data
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo
from fastopt._engine import dispatch
from fastopt.spec import RULE_AT, STAGES, SUBTRACT_AT

pytestmark = pytest.mark.compiled

VALUES = {
    "maximize": [False, True],
    "clip_value": [None, 0.5, 1e300],
    "clip_norm": [None, 0.5, 1e300],
    "clip_global_norm": [None, 2.0],
    "trust_ratio": [0.0, 1.0],
    "max_step": [None, 0.1],
    "step_scale": [None, 0.5],
    "bounds": [None, (-1.0, 1.0)],
    "ema": [0.0, 0.9],
    "weight_decay": [0.0, 0.1],
    "nonfinite": ["propagate", "skip", "zero", "raise"],
    "accumulate": [1, 3],
    "norms": [False, True],
    "zero_grads": [False, True],
}
SHAPING = [name for k, name in enumerate(STAGES) if RULE_AT <= k < SUBTRACT_AT]


def without_idle_subtraction(ops):
    """Python's operations as kernels make them: the rule subtracts its update itself, unless a stage shapes that."""
    shaped = any(kind == "stage" and stage in SHAPING for kind, stage, *_ in ops)
    return [op for op in ops if shaped or op[0] != "subtract"]


@settings(max_examples=300, deadline=None)
@given(
    case=st.sampled_from([c for c in CASES if c not in MUON]),
    options=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}),
    calls=st.integers(1, 3),
)
@pytest.mark.skipif(dispatch.TABLE is None, reason="nothing is compiled here")
def test_the_compiled_program_is_pythons(case, options, calls):
    cls, hyperparameters = CASES[case]
    known = {**hyperparameters, **{k: x for k, x in options.items() if k != "weight_decay" or k in cls.arguments}}
    known = {k: x for k, x in known.items() if k not in cls.unsupported_options}
    optimizer = cls(np.zeros(8, np.float32), **known)
    twin = fo.testing.interpreted_class(cls)(np.zeros(8, np.float32), **known)
    grads = data(8, seed=1).astype(np.float32)
    for k in range(calls):
        for each in (optimizer, twin):
            each.step(grads)
        accumulating = (k + 1) % known.get("accumulate", 1) != 0
        (ours,), (theirs,) = optimizer._backend.program(accumulating), twin._backend.program(accumulating)
        assert ours == without_idle_subtraction(theirs)


def test_clearing_comes_last():
    optimizer = fo.Adam(np.zeros(3), zero_grads=True)
    optimizer.bind(np.ones(3))
    optimizer.step()
    assert optimizer._backend.program(False)[0][-1][0] == "clear"
