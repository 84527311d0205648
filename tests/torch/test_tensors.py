"""Where tensors lie: gradients and parameters that come, go, move, and have every layout and dtype."""

import weakref

import pytest
from torch_tools import close, give_gradients, steps, tensors

import fastopt as fo

torch = pytest.importorskip("torch")
T = torch.optim


@pytest.fixture(params=[True, False], ids=["exchange", "no exchange"])
def exchange(request, monkeypatch):
    """Tensors are located by torch's half of DLPack in C, or, before torch 2.10, by their methods."""
    if not request.param:
        monkeypatch.setattr(fo.torch.base, "EXCHANGE", None)
    else:
        assert fo.torch.base.EXCHANGE is not None


def test_gradients_that_come_and_go(exchange):
    """None leaves a parameter and its step count alone; new memory is seen, and changes in place."""
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.Adam, a, lr=0.1), T.Adam(b, lr=0.1)
    ours.step()
    assert len(ours.state) == 0
    for opt, params in ((ours, a), (theirs, b)):
        for k in range(6):
            opt.zero_grad(set_to_none=k % 2 == 0)
            give_gradients(params, k)
            if k == 3:
                params[0].grad = None
            opt.step()
            params[1].grad.mul_(-1)
            opt.step()
            params[1].grad.data = params[1].grad.data * 3
            opt.step()
    close(a, b)
    assert [float(ours.state[p]["step"]) for p in a] == [float(theirs.state[p]["step"]) for p in b] == [15, 18]


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_not_held(dtype, exchange):
    """Whoever lets go of a gradient has its memory back."""
    params = tensors(dtype)
    opt = fo.torch.optimizer(fo.Adam, params)
    give_gradients(params, 0)
    opt.step()
    held = [weakref.ref(p.grad) for p in params]
    opt.zero_grad()
    assert [r() for r in held] == [None, None]
    opt.step()
    give_gradients(params, 1)
    params[0].grad = params[0].grad.t().contiguous().t()
    opt.step()
    held = [weakref.ref(p.grad) for p in params]
    opt.zero_grad()
    assert [r() for r in held] == [None, None]


def test_parameters_that_move(exchange):
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.Adam, a, lr=0.1), T.Adam(b, lr=0.1)
    for opt, params in ((ours, a), (theirs, b)):
        steps(opt, params, 0)
        params[0].data = params[0].data.clone() + 1
        steps(opt, params, 3)
    close(a, b)


LAYOUTS = {
    "contiguous": lambda p: p,
    "transposed": lambda p: p.t().contiguous().t(),
    "strided": lambda p: torch.stack([p, -p], 2).flatten(1)[:, ::2],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_parameter", LAYOUTS)
def test_layouts_and_dtypes(of_parameter, of_gradient, dtype, exchange):
    (start,) = tensors(torch.float64, [(6, 4)])
    ours = torch.nn.Parameter(LAYOUTS[of_parameter](start.detach().to(dtype)))
    theirs = torch.nn.Parameter(start.detach().to(dtype).clone())
    a, b = fo.torch.optimizer(fo.Adam, [ours], lr=0.1, rounding="nearest"), T.Adam([theirs], lr=0.1)
    for k in range(3):
        g = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64).to(dtype)
        theirs.grad, ours.grad = g.clone(), LAYOUTS[of_gradient](g.clone())
        a.step()
        b.step()
    tolerance = {torch.bfloat16: 0.03, torch.float16: 4e-3}.get(dtype, 1e-5)
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=tolerance, atol=tolerance)


def test_sparse_gradients_update_their_rows_alone():
    table = torch.nn.Embedding(10, 3, sparse=True)
    opt = fo.torch.optimizer(fo.Adam, table.parameters(), lr=0.1)
    before = table.weight.detach().clone()
    for _ in range(2):
        opt.zero_grad()
        table(torch.tensor([2, 5, 2])).sum().backward()
        opt.step()
    moved = (table.weight != before).any(1)
    assert moved.nonzero().flatten().tolist() == [2, 5]
    table.weight.grad = torch.ones(10, 3)
    opt.step()
    assert (table.weight != before).all()


def test_shapes_that_change_at_the_same_place():
    """Memory is not looked at by its first address alone."""
    base = torch.arange(8.0)
    p = torch.nn.Parameter(base)
    opt = fo.torch.optimizer(fo.SGD, [p], lr=1.0)
    p.grad = torch.zeros(8)
    opt.step()
    p.grad = None
    p.data = p.data[:4]
    p.grad = torch.ones(4)
    opt.step()
    assert base.tolist() == [-1, 0, 1, 2, 4, 5, 6, 7]
    square = torch.nn.Parameter(torch.arange(9.0).reshape(3, 3))
    opt = fo.torch.optimizer(fo.SGD, [square], lr=1.0)
    square.grad = torch.zeros(3, 3)
    opt.step()
    square.data = square.data.t()
    square.grad = g = torch.tensor([[0.0, 1, 2], [0, 0, 0], [0, 0, 0]])
    expected = square.detach() - g
    opt.step()
    assert torch.equal(square, expected)


def test_conjugated_gradients():
    p, q = (torch.nn.Parameter(torch.ones(3, dtype=torch.complex64)) for _ in range(2))
    g = torch.tensor([1 + 2j, 3j, 4 - 1j])
    p.grad, q.grad = g.conj(), g.conj().resolve_conj()
    fo.torch.optimizer(fo.SGD, [p], lr=0.5).step()
    T.SGD([q], lr=0.5).step()
    torch.testing.assert_close(p.detach(), q.detach())
    with pytest.raises(ValueError, match=r"zero_grads: gradients are torch's"):
        fo.torch.optimizer(fo.SGD, [p], zero_grads=True)


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (5,), (2, 3)])
def test_lazily_negated_gradients(shape, side_by_side, exchange):
    """The imaginary part of a conjugated tensor is negated when it is read, which its memory does not say."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.complex64).conj().imag
    g = g.as_strided(shape, torch.empty(shape).stride()) if side_by_side else g
    assert g.is_neg()
    p = torch.nn.Parameter(torch.zeros(shape))
    p.grad = g
    fo.torch.optimizer(fo.SGD, [p], lr=1.0).step()
    assert torch.equal(p.detach(), -g.resolve_neg())


class Tagged(torch.Tensor):
    """A tensor of another kind, whose methods may be its own."""


class Weight(torch.nn.Parameter):
    """A parameter of another kind."""


def test_memory_that_was_freed_is_refused(exchange):
    """Sharded training frees memory so; the shape stays."""
    p = torch.nn.Parameter(torch.ones(1000))
    p.grad = torch.ones(1000)
    p.grad.untyped_storage().resize_(0)
    opt = fo.torch.optimizer(fo.SGD, [p], lr=1.0)
    with pytest.raises(TypeError, match="gradient of '0/0': a tensor whose memory was freed, expected one that has some"):
        opt.step()
    assert (p == 1).all()


@pytest.mark.parametrize("change", ["kind", "expanded", "empty", "parameter"])
def test_gradients_that_are_not_torchs_plainest(change, exchange):
    shape = (0, 3) if change == "empty" else (4, 3)
    p, q = (kind(torch.ones(shape)) for kind in (Weight if change == "parameter" else torch.nn.Parameter, torch.nn.Parameter))
    a, b = fo.torch.optimizer(fo.Adam, [p], lr=0.1), T.Adam([q], lr=0.1)
    for k in range(3):
        g = torch.full(shape, k + 1.0)
        q.grad = g.clone()
        p.grad = {"kind": lambda g: g.as_subclass(Tagged), "expanded": lambda g: g[:1].expand(4, 3)}.get(change, torch.clone)(g)
        a.step()
        b.step()
    torch.testing.assert_close(p.detach(), q.detach())
