"""The formulas are torch's: every class and argument, 200 steps."""

import numpy as np
import pytest
from cases import ADAFACTOR, CASES, MUON, data

torch = pytest.importorskip("torch")
# float64: our v is v + (w g g - w v), theirs b v + w g g; a centered variance cancels, and so does a step near its bound.
RELATIVE = {"rmsprop-centered": 1e-7, "rmsprop-centered-momentum": 1e-7}


OURS = {"eps_root", "eps_hat", "max_corrected", "eps_inside", "lr_in_velocity"}  # switches that torch does not have
TORCH = [
    c
    for c, (cls, options) in CASES.items()
    if hasattr(torch.optim, cls.__name__) and not OURS & set(options) | {c} & (ADAFACTOR | MUON)
]


@pytest.fixture(autouse=True)
def numbers_in_double():
    """torch keeps numbers that live between steps, such as NAdam's product, in its default dtype."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


def draw(dtype, seed):
    if np.dtype(dtype).kind == "c":
        return (data(300, np.float64, seed) + 1j * data(300, np.float64, seed + 1000)).astype(dtype)
    return data(300, dtype, seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("case", TORCH)
def test_parity(case, dtype):
    cls, hyperparameters = CASES[case]
    p = draw(dtype, 1)
    theirs = torch.nn.Parameter(torch.from_numpy(p.copy()))
    peer = getattr(torch.optim, cls.__name__)([theirs], **hyperparameters)
    ours = cls(p, **hyperparameters)
    for k in range(200):
        g = draw(dtype, k + 2)
        lr = hyperparameters["lr"] * (1 - k / 400)
        ours.lr = peer.param_groups[0]["lr"] = lr
        theirs.grad = torch.from_numpy(g.copy())
        ours.step(g)
        peer.step()
    expected = theirs.detach().numpy()
    scale = np.abs(expected).max()
    tolerance = 2e-4 if dtype is np.float32 else RELATIVE.get(case, 1e-12)
    assert np.abs(p - expected).max() <= tolerance * max(scale, 1)


def test_closed_form_first_steps():
    import fastopt as fo

    for cls, expected in [(fo.SGD, 0.6), (fo.Adam, 0.9), (fo.Adagrad, 0.9), (fo.RMSprop, 0.0)]:
        p = np.ones(3)
        cls(p, lr=0.1).step(np.full(3, 4.0))
        np.testing.assert_allclose(p, expected, rtol=1e-7, atol=1e-7)
