"""Gradients of rows: what a lazy step touches, and that an exact one is as with dense gradients."""

import copy
import os

import numpy as np
import pytest
from cases import ADAFACTOR, CASES, MUON, make, same

import fastopt as fo

SUMS = {
    "lars",
    "lamb",
    "dog",
    *(c for c in CASES if c.startswith("prodigy")),
} | ADAFACTOR  # over parameters, which lazy rows keep from being known
ROWS, WIDTH = 40, 7


def gradients(steps, rows=ROWS, shape=(WIDTH,), dtype=np.float64, seed=1):
    """Return indices, some twice, values, and the dense gradient of each step."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        indices = rng.integers(0, rows, 6)
        values = rng.standard_normal((6, *shape)).astype(dtype)
        dense = np.zeros((rows, *shape), dtype)
        np.add.at(dense, indices, values)
        yield indices, values, dense


def start(dtype=np.float64, shape=(ROWS, WIDTH)):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def flat(optimizer, name="0"):
    return [np.asarray(x) for x in optimizer.state[name].values()]


@pytest.mark.parametrize("case", sorted(set(CASES) - SUMS - MUON))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_rows_equal_dense_gradients_to_the_bit(case, dtype):
    p = start(dtype)
    q = p.copy()
    rows, dense = make(case, p, mode="exact"), make(case, q)
    for indices, values, full in gradients(20, dtype=dtype):
        rows.catch_up(indices)
        rows.step(fo.RowGradient(indices, values))
        dense.step(full)
        assert same(p[indices], q[indices])
    rows.catch_up()
    assert same(p, q)
    assert all(same(x, y) for x, y in zip(flat(rows), flat(dense), strict=True))


OPTIONS = {
    "stages": {"clip_value": 0.7, "clip_global_norm": 2.0, "max_step": 0.005, "bounds": (-1.0, 1.0), "ema": 0.9, "maximize": True},
    "norm": {"clip_norm": 1.0, "step_scale": np.linspace(0, 2, ROWS * WIDTH).reshape(ROWS, WIDTH)},
    "bfloat16": {"state_dtype": "bfloat16"},
    "float16": {"state_dtype": "float16", "rounding": "nearest"},
    "flush": {"flush_subnormals": True, "nonfinite": "skip"},
}


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
@pytest.mark.parametrize("options", sorted(OPTIONS))
@pytest.mark.parametrize("scheduled", [False, True])
def test_exact_rows_replay_stages_formats_and_schedules(options, scheduled):
    p = start(np.float32)
    q = p.copy()
    lr = fo.schedules.linear_decay(1e-2, steps=600) if scheduled else 1e-2
    rows = fo.AdamW(p, lr=lr, mode="exact", weight_decay=0.1, **OPTIONS[options])
    dense = fo.AdamW(q, lr=lr, weight_decay=0.1, **OPTIONS[options])
    for t, (indices, values, full) in enumerate(gradients(30, dtype=np.float32)):
        if not scheduled and t == 15:
            rows.lr = dense.lr = 2e-3
        scale = 0.5 if t % 2 else 1.0
        rows.step(fo.RowGradient(indices, values), scale=scale)
        dense.step(full, scale=scale)
    rows.catch_up()
    assert same(p, q)
    assert all(same(x, y) for x, y in zip(flat(rows), flat(dense), strict=True))


@pytest.mark.parametrize("master", [None, "float32", "split"])
def test_exact_rows_of_bfloat16_draw_the_random_bits_of_their_place(master):
    p = start(np.float32).view(np.uint32) >> 16
    p = p.astype(np.uint16).view(fo.bfloat16)
    q = p.copy()
    rows, dense = fo.Adam(p, master=master, mode="exact"), fo.Adam(q.view(fo.bfloat16), master=master)
    for indices, values, full in gradients(20, dtype=np.float32):
        rows.step(fo.RowGradient(indices, values))
        dense.step(full)
    rows.catch_up()
    assert (np.asarray(p) == np.asarray(q)).all()


def test_no_row_falls_behind_the_log():
    """After more steps than the log holds, rows that nobody touched are still as with dense gradients."""
    p = start(np.float32, (1000, 3))
    q = p.copy()
    rows, dense = fo.AdamW(p, lr=1e-3, mode="exact"), fo.AdamW(q, lr=1e-3)
    first = start(np.float32, (1000, 3))
    rows.step(first)
    dense.step(first)
    for indices, values, full in gradients(700, 20, (3,), np.float32):
        rows.step(fo.RowGradient(indices, values))
        dense.step(np.concatenate([full, np.zeros((980, 3), np.float32)]))
    rows.catch_up()
    assert same(p, q)


def test_exact_rows_and_dense_gradients_may_alternate():
    p = start()
    q = p.copy()
    rows, dense = fo.Adam([p], mode="exact"), fo.Adam([q])
    for t, (indices, values, full) in enumerate(gradients(20)):
        rows.step([full if t % 5 == 4 else None if t % 7 == 3 else fo.RowGradient(indices, values)])
        dense.step([None if t % 5 != 4 and t % 7 == 3 else full])
    assert rows.fingerprint() == dense.fingerprint()


def test_exact_resume_and_copies_hold_what_was_behind(tmp_path):
    p, again = start(), start()
    rows = fo.Adam({"w": p}, mode="exact")
    entries = list(gradients(20))
    for indices, values, _ in entries[:9]:
        rows.step({"w": fo.RowGradient(indices, values)})
    rows.save(tmp_path / "run.npz")
    resumed = fo.Adam({"w": again}, mode="exact")
    resumed.load(tmp_path / "run.npz")
    copied = copy.deepcopy(rows)
    for optimizer in (rows, resumed, copied):
        for indices, values, _ in entries[9:]:
            optimizer.step({"w": fo.RowGradient(indices, values)})
    assert rows.fingerprint() == resumed.fingerprint() == copied.fingerprint()
    rows.load(tmp_path / "run.npz")
    for indices, values, _ in entries[9:]:
        rows.step({"w": fo.RowGradient(indices, values)})
    assert rows.fingerprint() == resumed.fingerprint()
    rows.reset()
    p[...] = start()
    again = fo.Adam({"w": start()}, mode="exact")
    for optimizer in (rows, again):
        for indices, values, _ in entries:
            optimizer.step({"w": fo.RowGradient(indices, values)})
    assert rows.fingerprint() == again.fingerprint()


@pytest.mark.parametrize("case", sorted(set(CASES) - SUMS - MUON))
def test_lazy_rows_are_updated_and_others_are_left(case):
    """The rows touched make a dense step; no bit of another row's parameter and state changes."""
    p = start()
    q = p.copy()
    rows, dense = make(case, p), make(case, q)
    full = start()
    rows.step(full)
    dense.step(full)
    before, state = p.copy(), [x.copy() for x in flat(rows)]
    for indices, values, full in gradients(1):
        rows.step(fo.RowGradient(indices, values))
        dense.step(full)
        others = np.setdiff1d(np.arange(ROWS), indices)
        assert same(p[indices], q[indices]) and same(p[others], before[others])
        for now, then, other in zip(flat(rows), state, flat(dense), strict=True):
            if now.ndim:
                assert same(now[indices], other[indices]) and same(now[others], then[others])
    assert rows.steps == 2 and rows.state["0"]["step"] == 2


def test_lazy_is_torchs_sparse_adam():
    torch = pytest.importorskip("torch")
    p = start()
    mine = fo.Adam(p, lr=1e-2, eps_hat=True)
    theirs = torch.nn.Parameter(torch.tensor(start()))
    optimizer = torch.optim.SparseAdam([theirs], lr=1e-2)
    for t, (indices, values, _) in enumerate(gradients(200)):
        mine.lr = optimizer.param_groups[0]["lr"] = 1e-2 / (1 + t)
        mine.step(fo.RowGradient(indices, values))
        theirs.grad = torch.sparse_coo_tensor(
            torch.tensor(indices)[None], torch.tensor(values), (ROWS, WIDTH), check_invariants=True
        )
        optimizer.step()
    np.testing.assert_allclose(p, theirs.detach().numpy(), rtol=1e-12)


def test_matrices_of_scipy():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
        p, q = start(), start()
        a, b = fo.Adam(p), fo.Adam(q)
        for indices, values, full in gradients(5):
            touched = np.unique(indices)
            a.step(kind(full))
            b.step(fo.RowGradient(indices, values))
            assert same(a.state["0"]["m"][touched], b.state["0"]["m"][touched])
        assert same(p, q)
    with pytest.raises(ValueError, match=r"shape \(40, 8\), expected \(40, 7\)"):
        fo.Adam(start()).step(sparse.csr_array(np.ones((40, 8))))
    with pytest.raises(ValueError, match="a RowGradient for 3 axes"):
        fo.Adam(start(shape=(40, 7, 1))).step(sparse.csr_array(np.ones((40, 7))))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (5, 2), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_rows_of_any_shape(shape, dtype):
    p = start(dtype, (ROWS, *shape))
    q = p.copy()
    rows, dense = fo.AdamW(p, mode="exact"), fo.AdamW(q)
    for indices, values, full in gradients(10, shape=shape, dtype=dtype):
        rows.step(fo.RowGradient(indices, values))
        dense.step(full)
    rows.catch_up()
    assert (p == q).all()


def test_rows_of_strided_parameters_and_gradients():
    for mode in ("lazy", "exact"):
        p, q = np.zeros((ROWS, 2 * WIDTH))[:, ::2], np.zeros((ROWS, WIDTH))
        p[...] = q[...] = start()
        one, other = fo.Adam(p, mode=mode), fo.Adam(q, mode=mode)
        for indices, values, _ in gradients(10):
            one.step(fo.RowGradient(indices, np.asfortranarray(values)))
            other.step(fo.RowGradient(indices, values.astype(np.longdouble)))
        one.catch_up()
        other.catch_up()
        assert same(np.ascontiguousarray(p), q)


def test_rows_among_dense_gradients_and_in_groups():
    p, b, q, c = start(np.float32), start(np.float32, (900,)), start(np.float32), start(np.float32, (900,))
    options = {"lr": 1e-2, "clip_global_norm": 0.5, "mode": "exact"}
    rows = fo.Adam([{"params": {"b": b}}, {"params": {"e": p}, "lr": 0.1}], **options)
    dense = fo.Adam([{"params": {"b": c}}, {"params": {"e": q}, "lr": 0.1}], **options)
    for indices, values, full in gradients(10, dtype=np.float32):
        rows.step([{"b": np.cos(b)}, {"e": fo.RowGradient(indices, values)}])
        dense.step([{"b": np.cos(c)}, {"e": full}])
    assert rows.fingerprint() == dense.fingerprint()
    rows.add_group({"params": start()})
    rows.step([None, {"e": fo.RowGradient([1], np.ones((1, WIDTH), np.float32))}, fo.RowGradient([], np.ones((0, WIDTH)))])
    assert [x["step"] for x in rows.state.values()] == [10, 11, 1]


@pytest.mark.skipif(os.environ.get("FASTOPT_ISA") == "numpy", reason="interpreted steps have one thread")
def test_threads_do_not_change_bits():
    found = []
    for threads in (1, 2, 3):
        p = start(np.float32, (30_000, 8))
        optimizer = fo.AdamW(p, lr=1e-2, mode="exact", clip_global_norm=1.0, threads=threads)
        rng = np.random.default_rng(3)
        for _ in range(5):
            indices = rng.integers(0, 30_000, 20_000)
            optimizer.step(fo.RowGradient(indices, rng.standard_normal((20_000, 8)).astype(np.float32)))
        found.append(optimizer.fingerprint())
    assert found[0] == found[1] == found[2]


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
def test_what_reads_state_or_replaces_it_catches_up():
    def made():
        optimizer, twin = (fo.Adam(start(), mode=mode, ema=0.5, bounds=(-1, 1)) for mode in ("exact", "lazy"))
        for indices, values, full in gradients(9):
            optimizer.step(fo.RowGradient(indices, values))
            twin.step(full)
        return optimizer, twin

    for act in (
        lambda o: o.reset(),
        lambda o: o.load_state_dict(fo.Adam(start(), ema=0.5, bounds=(-1, 1)).state_dict(), hyperparameters={"mode": "keep"}),
        lambda o: o.average,
        lambda o: o.report(),
        lambda o: o.state_dict(),
        lambda o: copy.copy(o),
        lambda o: o.fingerprint(),
    ):
        optimizer, twin = made()
        act(optimizer)
        act(twin)
        assert same(optimizer.params, twin.params)
    assert same(made()[0].average, made()[1].average)
    assert made()[0].report()["groups"] == made()[1].report()["groups"]


def test_lazy_means_are_of_the_rows_that_were_touched():
    whole, part = start(shape=(1000,)), start(shape=(1000,))[[3, 7, 8]]
    fo.Adafactor(whole, lr=0.1).step(fo.RowGradient([7, 3, 8], np.array([1.0, -2.0, 0.5])))
    fo.Adafactor(part, lr=0.1).step(np.array([-2.0, 1.0, 0.5]))
    np.testing.assert_allclose(whole[[3, 7, 8]], part, rtol=1e-14)


@pytest.mark.skipif(os.environ.get("FASTOPT_ISA") == "numpy", reason="interpreted steps leave no row behind")
def test_what_was_made_read_only_does_not_catch_up():
    p = start()
    optimizer = fo.Adam(p, mode="exact")
    optimizer.step(start())
    optimizer.step(fo.RowGradient([1], np.ones((1, WIDTH))))
    p.flags.writeable = False
    before = p.copy()
    for act in (optimizer.catch_up, optimizer.state_dict, optimizer.fingerprint, lambda: copy.copy(optimizer)):
        with pytest.raises(ValueError, match="made read-only while rows are behind"):
            act()
    assert same(p, before)
    p.flags.writeable = True
    optimizer.catch_up()
    p.flags.writeable = False
    optimizer.state_dict()


def test_the_one_row_of_a_parameter_lies_in_any_order():
    p, q = np.asfortranarray(start(shape=(1, 3, 4))), start(shape=(1, 3, 4))
    values = start(shape=(1, 3, 4))
    fo.Adam(p).step(fo.RowGradient([0], values))
    fo.Adam(q).step(values)
    assert same(np.ascontiguousarray(p), q)


def test_a_gradient_stays_what_it_was_checked_to_be():
    gradient = fo.RowGradient([1], np.ones((1, WIDTH)))
    with pytest.raises(AttributeError):
        gradient.indices = [7]
    with pytest.raises(ValueError, match="read-only"):
        gradient.indices[0] = 7


def test_no_rows_is_a_step_that_changes_none():
    p = start()
    optimizer = fo.AdamW(p, weight_decay=0.1)
    assert optimizer.step(fo.RowGradient([], np.zeros((0, WIDTH))))
    assert same(p, start()) and optimizer.state["0"]["step"] == 1


ERRORS = {
    "float indices": (lambda: fo.RowGradient([0.5], np.ones((1, WIDTH))), TypeError, "indices: float64"),
    "matrix of indices": (lambda: fo.RowGradient([[1]], np.ones((1, WIDTH))), TypeError, r"shape \(1, 1\)"),
    "boolean mask": (lambda: fo.RowGradient(np.ones(ROWS, bool), start()), TypeError, "indices: bool"),
    "negative": (lambda: fo.RowGradient([-1], np.ones((1, WIDTH))), ValueError, "expected rows from 0 on"),
    "too few values": (lambda: fo.RowGradient([1, 2], np.ones((1, WIDTH))), ValueError, "each of 2 indices"),
    "beyond": (
        lambda: fo.Adam(start()).step(fo.RowGradient([40], np.ones((1, WIDTH)))),
        ValueError,
        "row 40, expected rows below 40",
    ),
    "width": (lambda: fo.Adam(start()).step(fo.RowGradient([4], np.ones((1, 3)))), ValueError, r"\(1, 3\), expected \(1, 7\)"),
    "dtype": (lambda: fo.Adam(start()).step(fo.RowGradient([4], np.ones((1, WIDTH), int))), TypeError, "dtype int64"),
    "no axis": (lambda: fo.Adam(np.ones(())).step(fo.RowGradient([0], np.ones(1))), ValueError, "has no axis"),
    "Fortran": (
        lambda: fo.Adam(np.asfortranarray(start())).step(fo.RowGradient([0], np.ones((1, WIDTH)))),
        ValueError,
        "in C order",
    ),
    "float8": (
        lambda: fo.Adam(start(np.float32), state_dtype="float8").step(fo.RowGradient([0], np.ones((1, WIDTH)))),
        ValueError,
        "float8; expected another",
    ),
    "accumulate": (
        lambda: fo.Adam(start(), accumulate=2).step(fo.RowGradient([0], np.ones((1, WIDTH)))),
        ValueError,
        "accumulate=2",
    ),
    "integers": (lambda: fo.RowGradient([1], np.ones((1, WIDTH), int)), TypeError, "values: dtype int64"),
    "no keys": (lambda: fo.Adam({"e": start()}).catch_up({"f": [1]}), ValueError, r"rows: missing keys \['e'\]"),
    "floats to catch up": (lambda: fo.Adam({"e": start()}).catch_up({"e": [1.5]}), TypeError, "rows of 'e': float64"),
    "bind": (
        lambda: fo.Adam(start()).bind(fo.RowGradient([0], np.ones((1, WIDTH)))),
        TypeError,
        "RowGradient, expected an array",
    ),
    "mode": (lambda: fo.Adam(start(), mode="sparse"), ValueError, "'lazy', 'exact'"),
    "rows to catch up": (lambda: fo.Adam(start(), mode="exact").catch_up([40]), ValueError, "row 40"),
}


@pytest.mark.parametrize("case", sorted(ERRORS))
def test_errors(case):
    call, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("case", sorted(ADAFACTOR | MUON))
def test_rules_of_matrices_refuse_rows(case):
    p = start()
    with pytest.raises(ValueError, match=r"of rows, which .* does not support"):
        make(case, p).step(fo.RowGradient([0], np.ones((1, WIDTH))))
    assert same(p, start())


@pytest.mark.parametrize("case", sorted(SUMS - ADAFACTOR))
def test_exact_refuses_what_sums_over_parameters(case):
    p = start()
    with pytest.raises(ValueError, match="expected mode='lazy'"):
        make(case, p, mode="exact").step(fo.RowGradient([0], np.ones((1, WIDTH))))
    assert same(p, start())


def test_a_gradient_that_shares_memory_is_refused():
    p = start()
    with pytest.raises(ValueError, match="shares memory with parameter"):
        fo.SGD(p).step(fo.RowGradient([0, 1], p[:2]))


def test_a_skipped_step_leaves_rows_alone():
    p = start()
    optimizer = fo.Adam(p, nonfinite="skip", mode="exact")
    assert not optimizer.step(fo.RowGradient([2, 3], np.full((2, WIDTH), np.nan)))
    assert same(p, start()) and optimizer.skipped == 1 and optimizer.steps == 0
