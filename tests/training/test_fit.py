"""`fit`: data of all kinds, callbacks, validation, histories, and what a run that raises leaves."""

import json
import math
import threading

import numpy as np
import pytest

import fastopt as fo
from fastopt.training import Checkpoint, EarlyStopping, Log, ReduceOnPlateau, evaluate, fit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(53, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=53)


def loss_and_grad(w, x, y):
    """Return the mean squared error of a linear model, whose rows may be sparse, and its gradient."""
    error = x @ w - y
    return np.mean(error**2), 2 * (x.T @ error) / len(error)


def trained(data=(X, Y), optimizer=fo.Adam, function=loss_and_grad, lr=0.05, **options):
    """Fit a linear model; return its history and weights."""
    w = np.zeros(3)
    history = fit(function, w, data, optimizer(w, lr=lr), **{"epochs": 4, "batch_size": 8, "seed": 0, **options})
    return history, w


def test_an_epoch_takes_every_row_once_in_the_order_of_the_generator():
    seen = []

    def function(w, x, y):
        seen.append(y.copy())
        return loss_and_grad(w, x, y)

    history, _ = trained(function=function)
    rng = np.random.default_rng(0)
    expected = np.concatenate([Y[rng.permutation(53)] for _ in range(4)])
    assert np.array_equal(np.concatenate(seen), expected)
    assert [len(y) for y in seen[:7]] == [8] * 6 + [5]
    assert history.steps == [7, 14, 21, 28] and history.seed == 0 and history.lr == [0.05] * 4
    means = [sum(loss * n for loss, n in zip(losses, [8] * 6 + [5], strict=True)) / 53 for losses in losses_of_epochs(expected)]
    assert history.loss == pytest.approx(means, rel=1e-12)


def losses_of_epochs(_):
    """Return the losses of the batches of four epochs by the plainest loop."""
    w, rng = np.zeros(3), np.random.default_rng(0)
    optimizer, found = fo.Adam(w, lr=0.05), []
    for _ in range(4):
        order = rng.permutation(53)
        found.append([])
        for k in range(0, 53, 8):
            loss, grads = loss_and_grad(w, X[order[k : k + 8]], Y[order[k : k + 8]])
            optimizer.step(grads)
            found[-1].append(loss)
    return found


@pytest.mark.parametrize(
    "kind", ["list", "memory map", "file", "fortran", "strided", "pandas", "csr", "csc", "iterable", "list of batches"]
)
def test_all_kinds_of_data_give_the_same_run(kind, tmp_path):
    sparse, pandas = pytest.importorskip("scipy.sparse"), pytest.importorskip("pandas")
    X.tofile(tmp_path / "x")
    batches = [(X[k : k + 8], Y[k : k + 8]) for k in range(0, 53, 8)]
    given = {
        "list": (X.tolist(), Y.tolist()),
        "memory map": (np.memmap(tmp_path / "x", np.float64, "r", shape=X.shape), Y),
        "file": (InFile(X), InFile(Y)),
        "fortran": [np.asfortranarray(X), Y],
        "strided": (np.repeat(X, 2, axis=1)[:, ::2], np.repeat(Y, 2)[::2]),
        "pandas": (pandas.DataFrame(X, index=range(53, 0, -1)), pandas.Series(Y, index=range(53))),
        "csr": (sparse.csr_array(X), Y),
        "csc": (sparse.csc_matrix(X), Y),
        "iterable": Each(batches),
        "list of batches": batches,
    }[kind]
    is_stream = kind in ("iterable", "list of batches")
    options = {"batch_size": None} if is_stream else {}
    history, w = trained(given, **options)
    expected, v = trained(shuffle=False) if is_stream else trained()
    assert np.allclose(w, v, rtol=1e-12, atol=0) and np.allclose(history.loss, expected.loss, rtol=1e-12)
    if kind not in ("csr", "csc"):
        assert (np.array_equal(w, v) and history == expected) or kind in ("fortran", "iterable", "list of batches")


class InFile:
    """An array as of h5py: rows are read at ascending places only."""

    chunks = (1,)

    def __init__(self, a):
        self.a, self.shape, self.dtype = a, a.shape, a.dtype

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        return self.a[rows]

    def __array__(self, *_, **__):
        raise AssertionError("read whole")


class Each:
    """Batches that can be iterated again."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_rows_of_sparse_data_come_as_csr():
    sparse = pytest.importorskip("scipy.sparse")
    kinds = set()

    def function(w, x, y):
        kinds.add((x.format, x.shape))
        return loss_and_grad(w, x, y)

    trained((sparse.coo_matrix(X), Y), function=function)
    assert kinds == {("csr", (8, 3)), ("csr", (5, 3))}


def test_without_a_seed_one_is_drawn_and_kept():
    first, w = trained(seed=None)
    assert isinstance(first.seed, int) and trained(seed=None)[0].seed != first.seed
    again, v = trained(seed=first.seed)
    assert np.array_equal(w, v) and again == first
    rng = np.random.default_rng(7)
    rng.random(3)
    history, w = trained(seed=rng)
    rng = np.random.default_rng(7)
    rng.random(3)
    assert history.seed is None and np.array_equal(w, trained(seed=rng)[1]) and not np.array_equal(w, trained(seed=7)[1])


def test_validation_is_the_mean_over_rows_by_the_average_where_there_is_one():
    held_out = X[:13] + 1, Y[:13]
    for options in ({}, {"ema": 0.9}):
        w = np.zeros(3)
        optimizer = fo.Adam({"w": w}, lr=0.05, **options)
        seen = []
        history = fit(
            lambda p, x, y: (lambda loss, g: (loss, {"w": g}))(*loss_and_grad(p["w"], x, y)),
            {"w": w},
            (X, Y),
            optimizer,
            epochs=3,
            batch_size=8,
            seed=0,
            validation=held_out,
            callbacks=lambda run: seen.append(loss_and_grad((run.optimizer.average if options else run.params)["w"], *held_out)[0]),  # noqa: B023
        )
        assert history.validation_loss == pytest.approx(seen, rel=1e-12) and len(seen) == 3
        assert history.best_epoch == int(np.argmin(seen))
    mean = evaluate(loss_and_grad, w, held_out)
    assert mean == pytest.approx(evaluate(lambda *a: loss_and_grad(*a)[0], w, held_out, batch_size=4), rel=1e-12)
    assert mean == pytest.approx(evaluate(loss_and_grad, w, Each([held_out])), rel=1e-12)
    history, _ = trained(validation=held_out, loss=lambda w, x, y: 3.0)
    assert history.validation_loss == [3.0] * 4
    history, _ = trained(validation=Each([held_out]), epochs=1)
    assert len(history.validation_loss) == 1


class Recorder:
    """A callback with all methods."""

    def __init__(self, stop=None):
        self.calls, self.stop = [], stop

    def note(self, name, run):
        self.calls.append((name, run.epoch, run.batch, run.steps, len(run.history.loss)))
        if self.calls[-1][:3] == self.stop:
            raise StopIteration("enough")

    def on_begin(self, run):
        self.note("begin", run)

    def on_batch(self, run):
        self.note("batch", run)

    def on_epoch(self, run):
        self.note("epoch", run)

    def on_end(self, run):
        self.note("end", run)


def test_callbacks_are_called_in_order():
    recorder, losses = Recorder(), []
    trained(callbacks=[recorder, lambda run: losses.append(run.loss)], epochs=2, batch_size=30)
    expected = [("begin", 0, 0, 0, 0), ("batch", 0, 1, 1, 0), ("batch", 0, 2, 2, 0), ("epoch", 0, 2, 2, 1)]
    expected += [("batch", 1, 1, 3, 1), ("batch", 1, 2, 4, 1), ("epoch", 1, 2, 4, 2), ("end", 2, 0, 4, 2)]
    assert recorder.calls == expected
    assert losses == trained(epochs=2, batch_size=30)[0].loss


@pytest.mark.parametrize(
    ("stop", "steps", "epochs"),
    [(("begin", 0, 0), 0, 0), (("batch", 1, 3), 10, 1), (("epoch", 1, 7), 14, 2), (("end", 4, 0), 28, 4)],
)
def test_stop_iteration_ends_a_run(stop, steps, epochs):
    recorder = Recorder(stop)
    history, _ = trained(callbacks=recorder)
    assert history.stopped == "enough" and len(history.loss) == epochs
    assert recorder.calls[-1][0] == "end" and recorder.calls[-1][3] == steps


def test_early_stopping_returns_to_the_best_epoch():
    validation = iter([3.0, 2.0, 1.0, math.nan, 1.0, 0.95, 5.0])
    seen = []
    stop = EarlyStopping(patience=3, min_delta=0.1)
    w = np.zeros(3)
    optimizer = fo.Adam(w, lr=0.05)
    history = fit(
        loss_and_grad,
        w,
        (X, Y),
        optimizer,
        epochs=50,
        seed=0,
        validation=(X, Y),
        loss=lambda *a: next(validation),
        callbacks=[lambda run: seen.append((w.copy(), run.optimizer.fingerprint())), stop],
    )
    assert history.stopped == "validation loss has not fallen for 3 epochs" and len(history.loss) == 6
    assert (stop.best, stop.best_epoch) == (1.0, 2) and history.best_epoch == 5
    assert np.array_equal(w, seen[2][0]) and optimizer.fingerprint() == seen[2][1] and optimizer.steps == 3
    assert repr(stop) == "EarlyStopping(monitor=None, patience=3, min_delta=0.1, restore_best=True)"
    history, w = trained(callbacks=EarlyStopping("loss", 1, restore_best=False), epochs=40)
    rising = int(np.argmax(np.diff(history.loss) >= 0)) + 1
    assert len(history.loss) == rising + 1 and np.array_equal(w, trained(epochs=rising + 1)[1])
    with pytest.raises(ValueError, match="'validation_loss' without validation data"):
        trained(callbacks=EarlyStopping("validation_loss"))


def test_a_plateau_reduces_the_rate_of_fit():
    history, _ = trained(callbacks=ReduceOnPlateau(0.5, patience=0, min_delta=0.9), epochs=4)
    assert history.lr == [0.05, 0.05, 0.025, 0.0125]


def test_the_log_has_a_line_for_each_epoch(tmp_path):
    pandas = pytest.importorskip("pandas")
    history, _ = trained(callbacks=Log(tmp_path / "log"), validation=(X, Y), loss=lambda *a: math.inf)
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3] and [row["validation_loss"] for row in rows] == [None] * 4
    assert [row["loss"] for row in rows] == history.loss and [row["seconds"] for row in rows] == history.seconds
    frame = pandas.read_json(tmp_path / "log", lines=True)
    assert frame.steps.tolist() == history.steps
    with pytest.raises(OSError):
        trained(callbacks=Log(tmp_path / "nowhere" / "log"))


def test_a_history_is_a_table_and_a_picture():
    pandas, matplotlib = pytest.importorskip("pandas"), pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    history, _ = trained()
    assert list(history.to_dict()) == ["loss", "lr", "seconds", "steps"] and len(pandas.DataFrame(history.to_dict())) == 4
    assert history.plot().get_yscale() == "log" and "4 epochs" in repr(history)
    history, _ = trained(validation=(X, Y), loss=lambda *a: -1.0)
    axes = history.plot()
    assert axes.get_yscale() == "linear" and [line.get_label() for line in axes.lines] == ["loss", "validation loss"]
    assert history.plot(axes) is axes and repr(fo.training.History()) == "History(no epoch)"
    assert fo.training.History().best_epoch is None
    long = fo.training.History(
        [3.0, *np.linspace(2, 1, 28), 1.5], [], [0.1] * 30, [0.5] * 30, list(range(10, 310, 10)), None, "<done>"
    )
    shown = long._repr_html_()
    assert shown.count("<tr>") == 1 + 3 + 10 and "<td><b>29</b></td><td><b>1</b></td>" in shown and "&lt;done&gt;" in shown
    assert "<th>validation loss</th>" not in shown and fo.training.History()._repr_html_().count("<tr>") == 1


def test_losses_that_are_not_finite_are_recorded(capsys):
    pytest.importorskip("tqdm")

    def function(w, x, y):
        return math.nan, np.zeros(3)

    with pytest.warns(RuntimeWarning, match=r"loss: nan in epoch 1, the first of 4"):
        history, _ = trained(function=function, progress=True)
    assert all(map(math.isnan, history.loss)) and history.best_epoch is None
    shown = capsys.readouterr().err
    assert "loss=nan" in shown and "epoch 4/4" in shown and "28/28" in shown
    with pytest.raises(FloatingPointError):
        trained(function=lambda w, x, y: (1.0, np.full(3, np.nan)), optimizer=lambda w, lr: fo.SGD(w, nonfinite="raise"))


@pytest.mark.parametrize("where", ["loss", "on_batch", "on_epoch"])
def test_an_exception_leaves_the_last_whole_step(where, tmp_path):
    calls = []

    def fail(at):
        calls.append(at)
        if at == where and sum(x == where for x in calls) == {"loss": 10, "on_batch": 10, "on_epoch": 2}[where]:
            raise KeyError(where)

    class Fails:
        def on_batch(self, run):
            fail("on_batch")

        def on_epoch(self, run):
            fail("on_epoch")

    def function(w, x, y):
        fail("loss")
        return loss_and_grad(w, x, y)

    w = np.zeros(3)
    optimizer = fo.Adam(w, lr=0.05)
    options = {"epochs": 4, "batch_size": 8, "seed": 0, "checkpoint": tmp_path / "run.npz"}
    with pytest.raises(KeyError) as caught:
        fit(function, w, (X, Y), optimizer, callbacks=Fails(), **options)
    steps = {"loss": 9, "on_batch": 10, "on_epoch": 14}[where]
    assert optimizer.steps == steps and len(caught.value.history.loss) == {"loss": 1, "on_batch": 1, "on_epoch": 2}[where]
    v = np.zeros(3)
    history = fit(loss_and_grad, v, (X, Y), fo.Adam(v, lr=0.05), resume=True, callbacks=Recorder(), **options)
    expected, w = trained()
    assert np.array_equal(v, w) and history == expected


def test_two_threads_train_at_once():
    found = {}
    threads = [threading.Thread(target=lambda k=k: found.update({k: trained(seed=k, epochs=20)})) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for k, (history, w) in found.items():
        expected, v = trained(seed=k, epochs=20)
        assert np.array_equal(w, v) and history == expected
    assert len(found) == 4


def test_a_checkpoint_is_written_by_epochs_or_by_time(tmp_path):
    names = []
    trained(checkpoint=Checkpoint(tmp_path / "e{epoch}.npz", every=2, keep=9), epochs=5)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["e2.npz", "e4.npz", "e5.npz"]
    trained(
        checkpoint=Checkpoint(tmp_path / "s{epoch}.npz", seconds=0.0, keep=9),
        epochs=2,
        callbacks=[lambda run: names.append(sorted(x.name for x in tmp_path.glob("s*")))],
    )
    assert names == [["s1.npz"], ["s1.npz", "s2.npz"]]
