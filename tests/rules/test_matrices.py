"""Rules of whole matrices: Adafactor by averages of lines, Muon by products, each with another rule for arrays of other shapes."""

import copy
import os
import tracemalloc

import numpy as np
import pytest
from cases import Oracle, arrays_of, data, make, same

import fastopt as fo

SHAPES = [(4, 3), (2, 40, 30), (5,), (), (300, 17), (3, 5, 2, 2), (1, 7), (7, 1), (3, 700)]


def near(ours, theirs, rtol=1e-12):
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y.detach().numpy(), rtol=0, atol=rtol * np.abs(x).max())


def compared_with_torch(name, shapes, steps, draw, options):
    """Parameters and optimizers, ours and torch's, after these steps with changing learning rates."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    ours = [rng.standard_normal(shape) for shape in shapes]
    theirs = [torch.nn.Parameter(torch.tensor(p)) for p in ours]
    optimizer, peer = getattr(fo, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for t in range(steps):
        grads = [np.asarray(draw(rng, shape)) for shape in shapes]
        optimizer.lr = peer.param_groups[0]["lr"] = 0.3 / (1 + t % 17)
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step(grads)
        peer.step()
    return ours, theirs, optimizer, peer


@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1, "maximize": True}, {"eps": (1e-3, 0.1), "d": 2.0, "beta2_decay": -0.5}]
)
def test_adafactor_is_torchs(options):
    ours, theirs, optimizer, peer = compared_with_torch(
        "Adafactor", SHAPES, 200, lambda rng, shape: rng.standard_normal(shape) * 10 ** rng.uniform(-3, 1), options
    )
    near(ours, theirs)
    for k, p in enumerate(theirs):
        if p.ndim > 1:
            np.testing.assert_allclose(optimizer.state[f"{k}"]["row"], peer.state[p]["row_var"].numpy()[..., 0], rtol=1e-12)
            np.testing.assert_allclose(optimizer.state[f"{k}"]["col"], peer.state[p]["col_var"].numpy()[..., 0, :], rtol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3, "ns_steps": 3}]
)
def test_muon_is_torchs(options, monkeypatch):
    """Whose products would be of bfloat16."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x.clone())
    shapes = [(40, 30), (30, 40), (20, 20), (1, 6), (310, 305)]
    ours, theirs, *_ = compared_with_torch("Muon", shapes, 50, lambda rng, shape: rng.standard_normal(shape), options)
    near(ours, theirs)


@pytest.mark.parametrize("m, n", [(50, 20), (20, 50), (30, 30)])
def test_updates_of_muon_are_orthogonal(m, n):
    """With coefficients that converge, the update is the polar factor of the gradient, as the singular values say."""
    p, g = np.zeros((m, n)), data(m * n).reshape(m, n)
    fo.Muon(p, lr=1.0, weight_decay=0, ns_coefficients=(1.5, -0.5, 0), ns_steps=60).step(g)
    u, _, v = np.linalg.svd(g, full_matrices=False)
    np.testing.assert_allclose(p, -(max(1, m / n) ** 0.5) * (u @ v), atol=1e-10)


def test_arrays_that_are_no_matrices_are_adamws():
    shapes = [(), (5,), (3, 4, 2)]
    options = {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.2}
    p, q = ([data(int(np.prod(s)), np.float64, 1).reshape(s) for s in shapes] for _ in range(2))
    muon, adamw = fo.Muon([*p, np.zeros((3, 3))], adam_eps=1e-3, **options), fo.AdamW(q, eps=1e-3, **options)
    for t in range(5):
        grads = [data(int(np.prod(s)), np.float64, t).reshape(s) for s in shapes]
        muon.step([*grads, np.eye(3)])
        adamw.step(grads)
    assert all(same(x, y) for x, y in zip(p, q, strict=True))
    assert sorted(muon.state["3"]) == ["buf", "step"] and sorted(muon.state["1"]) == ["m", "step", "v"]


def test_groups_of_muon_may_be_adamws():
    p, q = data(12).reshape(4, 3), data(12).reshape(4, 3)
    muon = fo.Muon([{"params": np.eye(3)}, {"params": p, "orthogonalize": False}], lr=0.02)
    adamw = fo.AdamW(q, lr=0.02, weight_decay=0.1)
    for k in range(3):
        muon.step([np.eye(3), data(12, seed=k).reshape(4, 3)])
        adamw.step(data(12, seed=k).reshape(4, 3))
    muon.step([None, fo.RowGradient([1], np.ones((1, 3)))])
    adamw.step(fo.RowGradient([1], np.ones((1, 3))))
    assert same(p, q) and sorted(muon.state["1"]) == ["m", "step", "v"]


def test_none_is_restored(tmp_path):
    fo.Adafactor({"w": np.ones((2, 2))}).save(tmp_path / "run.npz")
    other = fo.Adafactor({"w": np.ones((2, 2))}, eps=(1e-7, 1e-3))
    other.load(tmp_path / "run.npz", hyperparameters="restore")
    assert other.groups[0]["eps"] == (None, 1e-3) and other.groups[0].number("eps1", 0) == np.finfo(float).eps


def test_zero_gradients_do_nothing():
    for cls in (fo.Adafactor, fo.Muon):
        p, b = np.ones((2, 2)), np.ones(2)
        cls([p, b], weight_decay=0).step([np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros(2)])
        assert np.isfinite(p).all() and b.tolist() == [1, 1]
    (p, _) = fo.functional.adafactor_vector(np.ones(3), np.array([1.0, 0, 0]), np.zeros(3), t=1)
    assert p[0] < 1 and p[1:].tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(4, 3), (300, 17), (3, 700), (2, 40, 30), (3, 5, 2, 2), (0, 4), (4, 0), (2, 0, 3), (1, 1), (2100, 2)]
)
@pytest.mark.parametrize("case", ["adafactor", "adafactor-options", "muon"])
def test_matrices_equal_the_rules(case, shape, dtype, isa):
    start = data(int(np.prod(shape)), dtype, 1).reshape(shape)
    oracle = Oracle(case, start)
    runs = [(p := start.copy(), make(case, p, threads=threads)) for threads in (1, 2)]
    for k in range(3):
        g = data(start.size, dtype, k + 2).reshape(shape)
        oracle.step(g, scale=0.5)
        for p, optimizer in runs:
            optimizer.step(g, scale=0.5)
            assert same(p, oracle.p)
            for ours, theirs in zip(arrays_of(optimizer), oracle.state, strict=True):
                assert same(ours, theirs)


@pytest.mark.parametrize("case", ["adafactor", "muon"])
@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 1.0, "clip_value": 0.5, "ema": 0.9},
        {"bounds": (-0.5, 0.5), "max_step": 0.01, "norms": True},
        {"accumulate": 2, "nonfinite": "zero", "trust_ratio": 1.0},
    ],
)
def test_stages_around_matrices(case, options):
    start = data(12_000, np.float32, 1).reshape(100, 120)
    oracle, p = Oracle(case, start, **{**options, "accumulate": 1}), start.copy()
    optimizer = make(case, p, **options)
    for k in range(3):
        g = data(12_000, np.float32, k + 2).reshape(100, 120)
        oracle.step(g)
        for _ in range(options.get("accumulate", 1)):
            optimizer.step(g)
    assert same(p, oracle.p)


@pytest.mark.skipif(os.environ.get("FASTOPT_ISA") == "numpy", reason="interpreted steps have one thread")
@pytest.mark.parametrize("shape", [(1500, 400), (7, 90_000), (400, 300, 5)])
def test_threads_do_not_change_bits(shape):
    found = []
    for threads in (1, 2, 3):
        p = data(int(np.prod(shape)), np.float32, 1).reshape(shape)
        optimizer = fo.Adafactor({"w": p, "b": np.zeros(5)}, eps=(1e-7, 1e-3), threads=threads)
        for k in range(3):
            optimizer.step({"w": data(p.size, np.float32, k).reshape(shape), "b": np.ones(5)})
        found.append(optimizer.fingerprint())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("case", ["adafactor", "muon"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_matrices_of_16_bits(case, dtype, order):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16)
    p = np.array(data(1200, np.float32, 1).reshape(30, 40), kind, order=order)
    optimizer, twin = make(case, p, state_dtype="bfloat16"), Oracle(case, p.copy("C"), state_dtype="bfloat16")
    for k in range(3):
        g = data(1200, np.float32, k).reshape(30, 40)
        optimizer.step(np.asfortranarray(g))
        twin.step(g)
    assert (np.asarray(p).view(np.uint16) == np.asarray(twin.p).view(np.uint16)).all()


@pytest.mark.parametrize("case", ["adafactor", "muon"])
def test_resume_and_copy(case, tmp_path):
    def params():
        return {"w": data(1200, np.float32, 1).reshape(30, 40), "b": data(40, np.float32, 2)}

    def step(optimizer, k):
        optimizer.step({"w": data(1200, np.float32, k).reshape(30, 40), "b": data(40, np.float32, k)})

    one = make(case, params())
    for k in range(3):
        step(one, k)
    one.save(tmp_path / "run.npz")
    resumed, copied = make(case, params()), copy.deepcopy(one)
    resumed.load(tmp_path / "run.npz")
    for optimizer in (one, resumed, copied):
        for k in range(3, 6):
            step(optimizer, k)
    assert one.fingerprint() == resumed.fingerprint() == copied.fingerprint()
    one.reset()
    assert not any(np.any(a) for entry in one.state.values() for a in entry.values())


@pytest.mark.skipif(os.environ.get("FASTOPT_ISA") == "numpy", reason="interpreted steps work on copies")
def test_adafactor_keeps_and_needs_little_memory():
    p, g = np.ones((1000, 2000), np.float32), data(2_000_000, np.float32).reshape(1000, 2000)
    optimizer = fo.Adafactor(p)
    assert sum(a.nbytes for a in arrays_of(optimizer)) == 4 * 3000
    optimizer.step(g)
    tracemalloc.start()
    optimizer.step(g)
    assert tracemalloc.get_traced_memory()[1] < 10_000
    tracemalloc.stop()


@pytest.mark.skipif(os.environ.get("FASTOPT_ISA") == "numpy", reason="interpreted steps work on copies")
def test_sums_over_wide_matrices_need_little_memory():
    p, g = np.ones((16, 100_000), np.float32), np.ones((16, 100_000), np.float32)
    tracemalloc.start()
    fo.Adafactor(p).step(g)
    assert tracemalloc.get_traced_memory()[1] < p.nbytes / 4
    tracemalloc.stop()


@pytest.mark.parametrize("dtype, factor", [(np.float32, 1e25), (np.float64, 1e200)])
def test_muon_of_gradients_whose_squares_overflow(dtype, factor):
    p, q, g = np.zeros((4, 3), dtype), np.zeros((4, 3), dtype), data(12, dtype).reshape(4, 3)
    fo.Muon(p, lr=0.1).step(g)
    fo.Muon(q, lr=0.1).step(g * dtype(factor))
    np.testing.assert_allclose(p, q, rtol=1e-5)


def test_what_a_function_of_matrices_raises_changes_nothing(monkeypatch):
    p, b = data(12).reshape(3, 4), data(4)
    optimizer = fo.Muon([p, b])
    optimizer.step([np.ones((3, 4)), np.ones(4)])
    before = optimizer.fingerprint()

    def fails(x, values):
        x[...] = 7
        raise MemoryError

    monkeypatch.setattr(optimizer.groups[0].rule, "matrix", fails)
    with pytest.raises(MemoryError):
        optimizer.step([np.ones((3, 4)), np.ones(4)])
    assert optimizer.fingerprint() == before and optimizer.steps == 1
    monkeypatch.undo()
    assert optimizer.step([np.ones((3, 4)), np.ones(4)])


def test_eps_of_none_is_each_dtypes_own():
    assert fo.Adafactor(np.ones(3, np.float32)).groups[0].hyperparameters.max() and fo.Adafactor(np.ones(3)).groups[0]["eps"] == (
        None,
        1e-3,
    )
    for dtype in (np.float32, np.float64):
        p, q = np.zeros((2, 2), dtype), np.zeros((2, 2), dtype)
        fo.Adafactor(p, eps=(None, 1e-3)).step(np.zeros((2, 2)))
        fo.Adafactor(q, eps=(np.finfo(dtype).eps, 1e-3)).step(np.zeros((2, 2)))
        assert same(p, q)
    assert fo.Adafactor([np.ones(3), np.ones(3, np.float32)]).groups[0].number("eps1", 0) == np.finfo(np.float32).eps
    optimizer = fo.Adafactor([{"params": np.ones(3)}])
    optimizer.add_group({"params": np.ones(3, np.float32)})
    assert optimizer.groups[1].number("eps1", 0) == np.finfo(np.float32).eps
    optimizer.groups[1]["eps"] = (1e-3, 1e-3)
    optimizer.groups[1]["eps"] = (None, 1e-3)
    assert optimizer.groups[1].number("eps1", 0) == np.finfo(np.float32).eps


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: fo.Muon(np.ones((2, 2), complex)), "expected a real dtype for muon"),
        (lambda: fo.Adafactor(np.ones((2, 2), complex)), "expected a real dtype for adafactor"),
        (lambda: fo.Muon(np.ones((2, 2)), adjust_lr_fn="none"), "expected one of 'original', 'match_rms_adamw'"),
        (lambda: fo.Muon(np.ones((2, 2)), ns_steps=100), "ns_steps <= 99"),
        (lambda: fo.Muon(np.ones((2, 2)), ns_coefficients=(1, 2)), "expected 3 values"),
        (lambda: fo.Adafactor(np.ones((2, 2)), beta2_decay=0.8), "beta2_decay"),
        (lambda: fo.Adafactor(np.ones((2, 2)), d=0.5), "1 <= d"),
        (lambda: fo.Adafactor(np.ones((2, 2)), eps=(1e-3, None)), "eps2: None, expected a number"),
        (lambda: fo.Adafactor(np.ones((2, 2)), eps=(0, 1e-3)), "eps1: 0.0, expected"),
        (lambda: fo.Muon(np.ones((2, 2)), eps=0), "eps: 0.0, expected"),
        (lambda: fo.Muon(np.ones((2, 2)), ns_steps=2.5), "ns_steps: 2.5, expected a whole number"),
        (lambda: fo.Muon(np.ones((2, 2)), momentum=1.5), "momentum < 1"),
        (lambda: fo.Muon([{"params": np.ones((2, 2)), "mode": "exact"}]), "mode is of the optimizer as a whole"),
    ],
)
def test_errors(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
    assert fo.Muon(np.ones((2, 2)), adjust_lr_fn=None).groups[0]["adjust_lr_fn"] == "original"
