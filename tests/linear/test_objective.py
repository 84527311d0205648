"""Objectives of linear models: compiled epochs, their equals in Python, sparse rows, and `fit`."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import sparse

import fastopt as fo
from fastopt._engine import dispatch
from fastopt.linear import Objective
from fastopt.linear.objective import LOSSES, MARGINS
from fastopt.linear.plain_epochs import PlainEpochs

RNG = np.random.default_rng(0)
ROWS, COLUMNS = 23, 37
RULES = {
    "SGD": {},
    "momentum": {"momentum": 0.9},
    "Adam": {},
    "Adagrad": {},
    "FTRL": {},
    "SignSGD": {},
    "RMSprop": {"ema": 0.9},
    "NAdam": {"clip_value": 0.1},
}
NEVER = float("nan")


def optimizer_of(name, params, lr=0.01, **options):
    """Return an optimizer of the table."""
    cls = fo.SGD if name == "momentum" else getattr(fo, name.split()[0])
    return cls(params, lr=lr, **{**RULES.get(name, {}), **options})


def problem(loss="squared_error", dtype=np.float64, outputs=1, rows=ROWS, density=0.4):
    """Return rows with zeros, targets, and a function that makes parameters."""
    x = (RNG.normal(size=(rows, COLUMNS)) * (RNG.random((rows, COLUMNS)) < density)).astype(dtype)
    y = RNG.random((rows, outputs) if outputs > 1 else rows)
    if loss in MARGINS:
        y = np.sign(y - 0.5)
    if loss == "softmax":
        y = RNG.integers(0, outputs, rows)
    shape = (outputs, COLUMNS) if outputs > 1 else COLUMNS
    return x, y, lambda: {"coef": np.zeros(shape, dtype), "intercept": np.zeros(outputs, dtype)}


def run(objective, data, params, optimizer, size, plain=False, epochs=2, shuffle=True, seed=0):
    """Run epochs; return their values."""
    made = PlainEpochs(objective, params, data, optimizer, size) if plain else objective.epochs(params, data, optimizer, size)
    if not plain and dispatch.TABLE is not None:
        assert type(made).__name__ == "Epochs"
    rng = np.random.default_rng(seed)
    while not made.run_epochs(rng, shuffle, epochs, 9.0, NEVER, 1):
        pass
    return made.values


def close(a, b, dtype=np.float64):
    tolerance = 1e-11 if dtype == np.float64 else 3e-4
    return all(np.allclose(a[name], b[name], rtol=tolerance, atol=tolerance / 10) for name in a)


@pytest.mark.compiled
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "hinge", "softmax"])
def test_compiled_epochs_are_those_of_python(kind, rule, loss):
    for dtype in (np.float64, np.float32):
        for outputs, size, alpha in ((1, 1, 0.0), (1, 7, 0.1), (3, 1, 0.1), (3, 7, 0.0)):
            if loss == "softmax" and outputs == 1:
                continue
            x, y, make = problem(loss, dtype, outputs)
            objective = Objective("log_loss" if loss == "softmax" else loss, alpha=alpha)
            weights = RNG.random(ROWS)
            found, expected = make(), make()
            rows = sparse.csr_array(x) if kind == "csr" else x
            mine, theirs = optimizer_of(rule, found), optimizer_of(rule, expected)
            values = run(objective, (rows, y, weights), found, mine, size)
            others = run(objective, (x, y, weights), expected, theirs, size, plain=True)
            assert close(found, expected, dtype), (dtype, outputs, size, alpha)
            assert np.allclose(values, others, rtol=1e-11 if dtype == np.float64 else 3e-4)
            assert mine.steps == theirs.steps and mine.state["coef"]["step"] == theirs.state["coef"]["step"]


@pytest.mark.compiled
@pytest.mark.parametrize("loss", LOSSES)
def test_all_losses_are_compiled(loss):
    x, y, make = problem(loss)
    found, expected = make(), make()
    values = run(Objective(loss), (x, y), found, optimizer_of("Adam", found), 4)
    others = run(Objective(loss), (x, y), expected, optimizer_of("Adam", expected), 4, plain=True)
    assert close(found, expected) and np.allclose(values, others, rtol=1e-12) and np.ptp(found["coef"]) > 0


@pytest.mark.compiled
def test_orders_are_those_of_numpy():
    params = {"coef": np.zeros(1), "intercept": np.zeros(1)}
    optimizer = fo.SGD(params)
    for n in (1, 2, 3, 4, 5, 10, 100, 1000, 65537):
        for bits in (np.random.PCG64, np.random.MT19937, np.random.SFC64):
            a, b = (np.random.Generator(bits(n)) for _ in range(2))
            epochs = Objective().epochs(params, (np.zeros((n, 1)), np.zeros(n)), optimizer, n)
            epochs.run_epochs(a, True, 2, 9.0, NEVER, 1)
            orders = [b.permutation(n) for _ in range(2)]
            assert a.random() == b.random() and sorted(orders[1]) == [*range(n)]
    # The rows come in that order: plain descent at a rate of a half ends at the last one.
    x, y = np.zeros((50, 1)), np.arange(50.0)
    params["intercept"][...] = 0
    Objective().epochs(params, (x, y), fo.SGD(params, lr=0.5), 1).run_epochs(np.random.default_rng(3), True, 1, 9.0, NEVER, 1)
    assert params["intercept"][0] == y[np.random.default_rng(3).permutation(50)[-1]]


@pytest.mark.compiled
@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [1, 5])
def test_penalties_of_plain_descent_are_the_same_for_sparse_rows(l1_ratio, size):
    x, y, make = problem(rows=60)
    objective = Objective(alpha=0.05, l1_ratio=l1_ratio)
    dense, of_csr, of_python = make(), make(), make()
    values = [
        run(objective, (x, y), dense, fo.SGD(dense, lr=0.05), size, epochs=5),
        run(objective, (sparse.csr_array(x), y), of_csr, fo.SGD(of_csr, lr=0.05), size, epochs=5),
        run(objective, (x, y), of_python, fo.SGD(of_python, lr=0.05), size, plain=True, epochs=5),
    ]
    assert close(dense, of_csr) and close(dense, of_python) and np.allclose(values[0], values[1:], rtol=1e-11)
    if l1_ratio == 1.0:
        assert (of_csr["coef"] == 0).any() and np.array_equal(of_csr["coef"] == 0, dense["coef"] == 0)


@pytest.mark.compiled
def test_a_factor_of_all_columns_may_become_tiny_zero_or_negative():
    x, y, make = problem(rows=40)
    for alpha, lr in ((10.0, 0.1), (1.0, 1.0), (30.0, 0.05), (0.5, 0.3)):
        dense, of_csr = make(), make()
        run(Objective(alpha=alpha), (x, y), dense, fo.SGD(dense, lr=lr), 1, epochs=3)
        run(Objective(alpha=alpha), (sparse.csr_array(x), y), of_csr, fo.SGD(of_csr, lr=lr), 1, epochs=3)
        assert close(dense, of_csr), alpha


@pytest.mark.compiled
@pytest.mark.parametrize("rule", ["Adagrad", "FTRL", "Adam", "momentum", "NAdam plain", "ScheduleFreeSGD"])
def test_sparse_rows_are_dense_ones_from_any_beginning(rule):
    x, y, make = problem(density=0.05)
    dense, of_csr = make(), make()
    dense["coef"][...] = of_csr["coef"][...] = RNG.normal(size=COLUMNS)
    run(Objective(), (x, y), dense, optimizer_of(rule, dense), 1)
    run(Objective(), (sparse.csr_array(x), y), of_csr, optimizer_of(rule, of_csr), 1)
    assert close(dense, of_csr)


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_lazy_steps_are_those_of_torchs_sparse_adam():
    torch = pytest.importorskip("torch")
    x, y, _ = problem(density=0.2)
    rows, w = sparse.csr_array(x), np.zeros(COLUMNS)
    objective = Objective(fit_intercept=False, mode="lazy")
    run(objective, (rows, y), {"coef": w}, fo.Adam({"coef": w}, lr=0.1, eps=0), 1, shuffle=False)
    weight = torch.zeros(COLUMNS, 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SparseAdam([weight], lr=0.1, eps=1e-300)
    for _ in range(2):
        for i in range(ROWS):
            places = rows.indices[rows.indptr[i] : rows.indptr[i + 1]].astype(np.int64)
            numbers = rows.data[rows.indptr[i] : rows.indptr[i + 1]]
            error = float(numbers @ weight.detach().numpy()[places, 0] - y[i])
            weight.grad = torch.sparse_coo_tensor(places[None], torch.tensor(2 * error * numbers[:, None]), (COLUMNS, 1))
            optimizer.step()
    np.testing.assert_allclose(w, weight.detach().numpy()[:, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.compiled
def test_options_and_schedules_that_change_other_columns_or_stages():
    """Decay by the rate of each step; and options that a callback sets, also where steps touched few columns before."""
    x, y, make = problem(rows=300, density=0.1)

    def decays(run):
        if run.epoch == 0:
            run.optimizer.groups[0]["weight_decay"] = 0.1

    objective = Objective()
    cases = [
        (lambda p: fo.AdamW(p, lr=lambda t: 0.01 / (1 + 0.01 * t), weight_decay=0.5), ()),
        (lambda p: fo.SGD(p, lr=0.01), decays),
        (lambda p: fo.Adagrad(p, lr=0.01), decays),
    ]
    for optimizer, callbacks in cases:
        for size in (1, 7):
            expected = make()
            given = {"epochs": 3, "batch_size": size, "seed": 0, "callbacks": callbacks}
            fo.training.fit(lambda *a: objective(*a), expected, (x, y), optimizer(expected), **given)
            for rows in (x, sparse.csr_array(x)):
                found = make()
                fo.training.fit(objective, found, (rows, y), optimizer(found), **given)
                assert close(found, expected), (size, type(rows))


def test_values_of_fit_have_the_penalties_of_absolute_values():
    x, y, make = problem()
    params = make()
    objective = Objective(alpha=0.5, l1_ratio=0.5)
    history = fo.training.fit(objective, params, (x, y), fo.SGD(params, lr=0.05), epochs=1, shuffle=False)
    w = params["coef"]
    expected = np.mean(y**2) + 0.25 * np.abs(w).sum() + 0.125 * (w @ w)
    assert history.loss == [pytest.approx(expected, rel=1e-12)]


@pytest.mark.compiled
def test_memory_is_not_read_beyond_its_end():
    x, y, make = problem()
    params, expected = make(), make()
    rows = sparse.csr_array(x)
    run(Objective(), (rows, y), expected, fo.SGD(expected, lr=0.01), 1)
    narrow = rows.copy()
    narrow.indices, narrow.indptr = rows.indices.astype(np.int16), rows.indptr.astype(np.int16)
    run(Objective(), (narrow, y), params, fo.SGD(params, lr=0.01), 1)
    assert close(params, expected)
    for place in (10**8, -5):
        wrong = rows.copy()
        wrong.indices[3] = place
        with pytest.raises(ValueError, match="indices"):
            Objective().epochs(params, (wrong, y), fo.SGD(params), 1)
    epochs = Objective().epochs(params, (x, y), fo.SGD(params), 1)
    for order in (np.arange(3), np.arange(ROWS) + 1, -np.arange(ROWS)):
        with pytest.raises(ValueError, match=f"expected the places of {ROWS} rows"):
            epochs.begin(order, 0, 0, 0.0)
    with pytest.raises(ValueError, match="size: 0, expected a whole number of at least 1"):
        Objective().epochs(params, (x, y), fo.SGD(params), 0)
    labels = RNG.integers(0, 3, ROWS).astype(float)
    classes = {"coef": np.zeros((3, COLUMNS)), "intercept": np.zeros(3)}

    def spoil(run):
        labels[:] = 1e12

    fo.training.fit(Objective("log_loss"), classes, (x, labels), fo.SGD(classes, lr=0.01), epochs=2, callbacks=spoil)
    assert np.isfinite(classes["coef"]).all()


@pytest.mark.compiled
def test_formats_of_sparse_rows():
    x, y, make = problem()
    expected = make()
    run(Objective(), (x, y), expected, optimizer_of("Adagrad", expected), 1)
    rows = sparse.csr_array(x)
    unsorted = sparse.csr_array(
        (rows.data[::-1].copy(), rows.indices[::-1].copy(), rows.indptr[-1] - rows.indptr[::-1]), (ROWS, COLUMNS)
    )[::-1]
    doubled = sparse.csr_array((np.repeat(rows.data / 2, 2), np.repeat(rows.indices, 2), rows.indptr * 2), (ROWS, COLUMNS))
    wide = rows.copy()
    wide.indices, wide.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    strided = sparse.csr_array((np.repeat(rows.data, 2)[::2], rows.indices, rows.indptr), (ROWS, COLUMNS))
    assert not strided.data.flags.c_contiguous
    for given in (rows, unsorted, doubled, wide, strided, sparse.csr_matrix(x)):
        found, before = make(), given.data.copy()
        run(Objective(), (given, y), found, optimizer_of("Adagrad", found), 1)
        assert close(found, expected) and np.array_equal(given.data, before)


PROGRAM = """
import hashlib, numpy as np, fastopt as fo
from scipy import sparse
from fastopt.linear import Objective
rng = np.random.default_rng(0)
x = (rng.normal(size=(40, 37)) * (rng.random((40, 37)) < 0.5))
y = rng.random(40)
for dtype in (np.float64, np.float32):
    for rows in (x.astype(dtype), sparse.csr_array(x.astype(dtype))):
        for loss in ("squared_error", "log_loss", "poisson"):
            for optimizer in (fo.SGD, fo.Adam, fo.Adagrad):
                for size in (1, 6):
                    params = {"coef": np.zeros(37, dtype), "intercept": np.zeros(1, dtype)}
                    objective = Objective(loss, alpha=0.01)
                    history = fo.training.fit(objective, params, (rows, y), optimizer(params, lr=0.05), 3, size, seed=0)
                    text = repr([history.loss, params["coef"].tobytes(), params["intercept"].tobytes()])
                    print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.mark.compiled
def test_bits_are_the_same_for_every_instruction_set():
    found = set()
    for isa in dispatch.available():
        environment = {**os.environ, "FASTOPT_ISA": isa}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1 and len(set(next(iter(found)).split())) == 72


@pytest.mark.compiled
def test_parameters_of_any_structure_and_of_no_columns():
    x, y, make = problem()
    expected, found = make(), make()
    run(Objective(), (x, y), expected, fo.Adam(expected, lr=0.01), 1)
    turned = {"intercept": found["intercept"], "coef": found["coef"]}
    groups = fo.Adam([{"params": {"b": found["intercept"]}}, {"params": {"w": found["coef"]}}], lr=0.01)
    run(Objective(), (x, y), turned, groups, 1)
    assert close(found, expected) and groups.steps == 2 * ROWS
    for rows in (np.zeros((5, 0)), sparse.csr_array((5, 0))):
        empty = {"coef": np.zeros(0), "intercept": np.zeros(1)}
        epochs = Objective().epochs(empty, (rows, np.arange(5.0)), fo.SGD(empty, lr=0.5), 5)
        assert epochs.run_epochs(np.random.default_rng(0), True, 1, 9.0, NEVER, 1) and epochs.values == [6.0]
        assert empty["intercept"][0] == pytest.approx(2.0, rel=1e-15)


def test_gradients_are_those_of_differences():
    for loss in LOSSES:
        x, y, make = problem(loss)
        params = make()
        params["coef"][...] = RNG.normal(size=COLUMNS)
        fo.check_gradient(Objective(loss, alpha=0.3), params, x, y, RNG.random(ROWS))
    x, y, make = problem("softmax", outputs=4)
    fo.check_gradient(Objective("log_loss"), make(), x, y)


def test_the_mean_loss_leaves_the_penalties_out():
    x, y, make = problem()
    params, weights = make(), RNG.random(ROWS)
    params["coef"][...] = 1.0
    objective = Objective(alpha=0.5)
    z = x.sum(axis=1)
    assert objective.mean(params, x, y, weights) == pytest.approx(np.average((z - y) ** 2, weights=weights))
    assert objective(params, x, y)[0] == pytest.approx(np.mean((z - y) ** 2) + 0.25 * COLUMNS)
    assert fo.training.evaluate(objective.mean, params, (x, y)) == objective.mean(params, x, y)
    assert repr(objective) == "Objective('squared_error', alpha=0.5)"
    assert repr(Objective("huber", delta=2.0, mode="lazy")) == "Objective('huber', mode='lazy', delta=2.0)"


@pytest.mark.parametrize("rule", ["SGD", "Adam", "LARS", "RMSprop"])
def test_fit_is_the_same_in_compiled_code_and_resumes(rule, tmp_path):
    class Stop(Exception):
        pass

    def at(k):
        def stop(run):
            if len(run.history.loss) == k:
                raise Stop

        return stop

    x, y, make = problem(rows=500)
    objective = Objective("huber")

    def fitted(function, **options):
        params = make()
        optimizer = optimizer_of(rule, params, lr=fo.schedules.linear_decay(0.01, 4000))
        history = fo.training.fit(function, params, (x, y), optimizer, epochs=6, batch_size=1, seed=2, validation=(x, y), **options)
        return history, params, optimizer.fingerprint()

    history, params, fingerprint = fitted(objective)
    others, expected, _ = fitted(lambda *a: objective(*a))
    assert close(params, expected) and np.allclose(history.loss, others.loss, rtol=1e-12) and history.steps == others.steps
    assert history.lr == others.lr and np.allclose(history.validation_loss, others.validation_loss, rtol=1e-12)
    with pytest.raises(Stop):
        fitted(objective, checkpoint=fo.training.Checkpoint(tmp_path / "run.npz", seconds=0.0), callbacks=at(3))
    again, _, same = fitted(objective, checkpoint=tmp_path / "run.npz", resume=True)
    assert (same, again) == (fingerprint, history)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer on this system")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # A file that a signal left open.
@pytest.mark.parametrize(("rule", "l1_ratio"), [("Adam", 0.0), ("LARS", 0.0), ("SGD", 0.5)])
def test_a_signal_at_any_moment_loses_nothing(rule, l1_ratio, tmp_path):
    x, y, make = problem(rows=400)
    objective = Objective(alpha=0.01, l1_ratio=l1_ratio)

    def fitted(checkpoint):
        params = make()
        optimizer = optimizer_of(rule, params)
        resume = {"checkpoint": checkpoint, "resume": checkpoint is not None}
        history = fo.training.fit(objective, params, (x, y), optimizer, epochs=4, batch_size=1, seed=2, **resume)
        return history, optimizer.fingerprint()

    expected, interrupted, rng = fitted(None), 0, np.random.default_rng(0)
    began = time.perf_counter()
    fitted(tmp_path / "whole.npz")
    longest = 1.5 * (time.perf_counter() - began)  # Two of three signals come before a run's end.
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for k in range(20):
            while True:
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, longest))
                    found = fitted(tmp_path / f"{k}.npz")
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    break
                except KeyboardInterrupt:
                    interrupted += 1
            assert found == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 3


@pytest.mark.compiled
def test_a_schedule_that_leaves_its_domain_raises_at_its_step():
    x, y, make = problem()
    params, expected = make(), make()
    optimizer = fo.SGD(params, lr=lambda t: 0.01 if t < 10 else -1.0)
    with pytest.raises(ValueError, match=r"lr: -1.0, expected 0 <= lr"):
        run(Objective(), (x, y), params, optimizer, 1, shuffle=False)
    run(Objective(), (x[:10], y[:10]), expected, fo.SGD(expected, lr=0.01), 1, epochs=1, shuffle=False)
    assert optimizer.steps == 10 and close(params, expected)


@pytest.mark.compiled
def test_other_steps_run_in_python():
    x, y, make = problem()
    for optimizer in (lambda p: fo.LARS(p), lambda p: fo.Adam(p, clip_norm=1.0), lambda p: fo.Adam(p, accumulate=2)):
        params = make()
        assert isinstance(Objective().epochs(params, (x, y), optimizer(params), 1), PlainEpochs)
    params = make()
    assert isinstance(Objective().epochs(params, (x.astype(np.float32), y), fo.SGD(params), 1), PlainEpochs)


class OnBatch:
    def on_batch(self, run):
        pass


def test_what_does_not_fit_is_refused():
    x, y, make = problem()
    params = make()
    rows = sparse.csr_array(x)
    with pytest.raises(ValueError, match=r"l1_ratio: 0.5 with Adam, expected plain SGD, or FTRL with its own l1"):
        Objective(alpha=1.0, l1_ratio=0.5).epochs(params, (x, y), fo.Adam(params), 1)
    with pytest.raises(ValueError, match=r"mode: 'lazy' with Adam, alpha=0.1: a penalty .*mode='exact', plain SGD, or alpha=0"):
        Objective(alpha=0.1, mode="lazy").epochs(params, (rows, y), fo.Adam(params), 1)
    for given, text in (
        ({"loss": "mse"}, "loss: 'mse', expected one of squared_error, huber"),
        ({"alpha": -1.0}, "alpha: -1.0, expected a finite number of at least 0"),
        ({"l1_ratio": 2.0}, "l1_ratio: 2.0, expected a finite number of at least 0, at most 1"),
        ({"mode": "fast"}, "mode: 'fast', expected 'exact' or 'lazy'"),
        ({"loss": "quantile", "quantile": 2.0}, "quantile: 2.0, expected a number between 0 and 1"),
        ({"loss": "huber", "delta": "a"}, "delta: 'a', expected a finite number above 0"),
    ):
        with pytest.raises(ValueError, match=text):
            Objective(**given)
    with pytest.raises(TypeError, match=r"squared_error: no delta, expected no constants"):
        Objective(delta=1.0)
    with pytest.raises(ValueError, match=r"params: \['w'\], expected a dict of coef and intercept"):
        Objective()({"w": np.zeros(2)}, x, y)
    with pytest.raises(ValueError, match=r"params: shapes \[\(2,\), \(2,\)\], expected \(columns,\) and \(1,\)"):
        Objective()({"coef": np.zeros(2), "intercept": np.zeros(2)}, x, y)
    for loss, wrong, text in (
        ("hinge", np.zeros(ROWS), "y: expected labels -1 and 1 for hinge"),
        ("log_loss", -np.ones(ROWS), "y: expected labels 0 and 1, or probabilities, for log_loss"),
    ):
        with pytest.raises(ValueError, match=text):
            Objective(loss).epochs(params, (x, wrong), fo.SGD(params), 1)
    with pytest.raises(ValueError, match=r"data: shapes .*expected rows, targets and perhaps one weight for each row"):
        Objective().epochs(params, (x, y, np.ones((ROWS, 2))), fo.SGD(params), 1)
    with pytest.raises(
        ValueError, match=r"Objective\('squared_error', mode='lazy'\), expected arrays, and no callback with on_batch"
    ):
        fo.training.fit(Objective(mode="lazy"), params, (rows, y), fo.Adam(params), callbacks=OnBatch())
    x, y, make = problem("softmax", outputs=3)
    params = make()
    with pytest.raises(ValueError, match="y: expected classes 0 to 2 for log_loss with 3 outputs"):
        Objective("log_loss").epochs(params, (x, y + 0.5), fo.SGD(params), 1)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("size", [1, 2])
def test_groups_have_their_own_rates(size, is_sparse):
    """Compiled and in Python: an intercept in a group that does not move stays where it is."""
    x, y = np.ones((3, 1)), np.ones(3)
    found = []
    for group in ({"lr": 0.0}, {"lr": 0.0, "maximize": True, "clip_norm": 1.0}):
        params = {"coef": np.zeros(1), "intercept": np.zeros(1)}
        groups = [{"params": [params["coef"]]}, {"params": [params["intercept"]], **group}]
        rows = sparse.csr_array(x) if is_sparse else x
        fo.training.fit(Objective(), params, (rows, y), fo.SGD(groups, lr=0.1), epochs=1, batch_size=size, shuffle=False)
        found.append(params["coef"][0])
        assert params["intercept"] == 0
    assert found == pytest.approx([0.488 if size == 1 else 0.36] * 2)
