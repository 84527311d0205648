"""Tensors, gradients and comparisons for the tests of PyTorch's adapter."""

import pytest

torch = pytest.importorskip("torch")

SHAPES = [(4, 3), (5, 7)]


def tensors(dtype=torch.float64, shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in shapes]


def give_gradients(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def steps(opt, params, first, count=3):
    for k in range(first, first + count):
        give_gradients(params, 100 + k)
        opt.step()


def close(a, b, rtol=None):
    rtol = rtol or (1e-6 if a[0].dtype == torch.float64 else 1e-4)
    torch.testing.assert_close(list(a), list(b), rtol=rtol, atol=1e-8)
