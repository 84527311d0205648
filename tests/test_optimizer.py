"""The object: names, groups, errors that change nothing, exact resume, copies, threads."""

import copy
import gc
import io
import itertools
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
import warnings
import weakref
import zipfile

import numpy as np
import pytest
from cases import CASES, data, make, same

import fastopt as fo


def snapshot(optimizer):
    return optimizer.fingerprint(), optimizer.steps, [dict(g) for g in optimizer.groups]


def test_structures_and_names():
    tree = {"encoder": [{"w": np.zeros((2, 3)), "b": np.zeros(3)}, np.zeros(())], "head": np.zeros(2)}
    optimizer = fo.SGD(tree, lr=1.0)
    assert list(optimizer.state) == ["encoder/0/w", "encoder/0/b", "encoder/1", "head"]
    optimizer.step({"head": np.ones(2), "encoder": ({"w": np.ones((2, 3)), "b": None}, 1.0)})
    assert tree["encoder"][1] == -1 and (tree["head"] == -1).all() and (tree["encoder"][0]["b"] == 0).all()
    assert optimizer.state["encoder/0/b"]["step"] == 0 and optimizer.state["head"]["step"] == 1
    assert optimizer.params["encoder"][0]["w"] is tree["encoder"][0]["w"] and optimizer.params.keys() == tree.keys()
    assert list(fo.SGD(np.zeros(2)).state) == ["0"]


def test_groups():
    w, b = np.zeros(2), np.zeros(2)
    optimizer = fo.Adam([{"params": {"w": w}, "lr": 0.5}, {"params": [b], "betas": (0.5, 0.9)}], lr=0.25)
    assert optimizer.lr == [0.5, 0.25] and list(optimizer.state) == ["0/w", "1/0"]
    c = np.zeros(2)
    optimizer.step([{"w": np.ones(2)}, [np.ones(2)]])
    before = optimizer.state["0/w"]["m"].copy()
    optimizer.add_group({"params": c, "lr": 1.0})
    assert optimizer.state["0/w"]["step"] == 1 and (optimizer.state["0/w"]["m"] == before).all()
    optimizer.step([{"w": None}, [None], np.ones(2)])
    assert np.allclose(c, -1) and optimizer.state["2"]["step"] == 1 and optimizer.steps == 2
    optimizer.lr = 0.125
    assert optimizer.lr == 0.125
    with pytest.raises(ValueError, match="learning_rate: no such hyperparameter"):
        optimizer.groups[0]["learning_rate"] = 1
    with pytest.raises(ValueError, match="amsgrad: False was chosen at construction"):
        optimizer.groups[0]["amsgrad"] = True


def test_schedules():
    p = np.zeros(1)
    optimizer = fo.SGD(p, lr=fo.schedules.linear_decay(1.0, steps=4))
    seen = []
    for _ in range(5):
        seen.append(optimizer.lr)
        optimizer.step(np.ones(1))
    assert seen == [1.0, 0.75, 0.5, 0.25, 0.0] and p[0] == -2.5
    steps = np.arange(6)
    for schedule in (
        fo.schedules.constant(2.0),
        fo.schedules.linear_decay(1.0, 4, 0.5),
        fo.schedules.exponential_decay(1.0, 0.5, 2, True),
    ):
        assert schedule(steps).tolist() == [schedule(int(s)) for s in steps]
        assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert fo.schedules.exponential_decay(2.0, 0.5)(3) == 0.25


BAD = {
    "shape": (np.ones((3, 2)), ValueError, r"gradient of 'w': shape \(3, 2\), expected \(2, 3\)"),
    "broadcast": (np.ones(3), ValueError, r"shape \(3,\), expected \(2, 3\)"),
    "integer": (np.ones((2, 3), int), TypeError, "gradient of 'w': dtype int64, expected a real floating-point"),
    "complex": (np.ones((2, 3), complex), TypeError, "dtype complex128"),
    "list": ([[1.0] * 3] * 2, TypeError, "list, expected an array"),
    "masked": (np.ma.ones((2, 3)), TypeError, "masked"),
    "order": (np.ones((2, 3), ">f8"), TypeError, "foreign byte order"),
    "object": (np.ones((2, 3), object), TypeError, "dtype object"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_refused_gradient_changes_nothing(bad):
    value, error, message = BAD[bad]
    params = {"b": np.ones(2), "w": np.ones((2, 3))}
    optimizer = fo.Adam(params, lr=0.1)
    optimizer.step({"b": np.ones(2), "w": np.ones((2, 3))})
    before = snapshot(optimizer)
    with pytest.raises(error, match=message):
        optimizer.step({"b": np.ones(2), "w": value})
    assert snapshot(optimizer) == before


@pytest.mark.parametrize(
    ("grads", "error"),
    [
        ({"b": np.ones(2)}, ValueError),
        ([np.ones(2)] * 2, TypeError),
        ({"b": 1.0, "w": 1.0, "x": 1.0}, ValueError),
        (None, ValueError),
    ],
)
def test_a_refused_structure_changes_nothing(grads, error):
    optimizer = fo.Adam({"b": np.ones(2), "w": np.ones(3)})
    before = snapshot(optimizer)
    with pytest.raises(error):
        optimizer.step(grads)
    assert snapshot(optimizer) == before


@pytest.mark.parametrize("lr", [lambda t: float("nan"), lambda t: "fast", lambda t: -1.0, lambda t: 1 / t])
def test_a_failing_schedule_changes_nothing(lr):
    p = np.ones(3)
    optimizer = fo.Adam([{"params": p, "lr": fo.schedules.linear_decay(1.0, 10)}, {"params": np.ones(2), "lr": lr}])
    before = snapshot(optimizer)
    with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
        optimizer.step([np.ones(3), np.ones(2)])
    assert snapshot(optimizer) == before


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_bad_scale_changes_nothing(scale):
    optimizer = fo.SGD(np.ones(2))
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="scale"):
        optimizer.step(np.ones(2), scale=scale)
    assert snapshot(optimizer) == before


@pytest.mark.parametrize("key", ["lr", "eps", "weight_decay", "betas", "threads", "momentum"])
def test_bad_hyperparameters(key):
    with pytest.raises((ValueError, TypeError), match=key if key != "betas" else "beta"):
        fo.Adam(np.ones(2), **{key: (0.9, 1.0) if key == "betas" else -1})


def test_parameters_that_cannot_be_updated():
    base = np.zeros((4, 4))
    fo.SGD([base[:, 0::2], base[:, 1::2]])  # interleaved: disjoint
    with pytest.raises(ValueError, match="share memory"):
        fo.SGD([base[:3], base[2:]])
    with pytest.raises(ValueError, match="share memory"):
        fo.SGD({"a": base, "b": base})
    with pytest.raises(ValueError, match="its elements share memory"):
        fo.SGD(np.lib.stride_tricks.as_strided(np.zeros(4), (3, 2), (8, 8)))
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="parameter '0': read-only"):
        fo.SGD([frozen])
    for wrong in (np.zeros(3, int), np.zeros(3, ">f4"), np.ma.zeros(3), 1.0, np.zeros(3, np.uint16)):
        with pytest.raises(TypeError, match="parameter"):
            fo.SGD([wrong])
    with pytest.raises(ValueError, match="no arrays"):
        fo.SGD([])
    with pytest.raises(ValueError, match="two parameters"):
        fo.SGD({"a/b": np.zeros(1), "a": {"b": np.zeros(1)}})


def test_gradients_that_share_memory():
    base = np.zeros((4, 4))
    optimizer = fo.Adam({"w": base[:, ::2], "v": np.zeros((4, 2))})
    fine = base[:, 1::2]
    optimizer.step({"w": fine, "v": fine})
    before = snapshot(optimizer)
    for bad, what in [
        (base[:, ::2], "parameter 'w'"),
        (base[:, 1:3], "parameter 'w'"),
        (optimizer.state["w"]["m"], "state 'm' of 'w'"),
    ]:
        for _ in range(2):
            with pytest.raises(ValueError, match=f"shares memory with {what}"):
                optimizer.step({"w": None, "v": bad})
    assert snapshot(optimizer) == before


def test_gradients_of_every_origin():
    torch = pytest.importorskip("torch")
    p = np.zeros((2, 3), np.float32)
    optimizer = fo.SGD(p, lr=1.0)
    frozen = np.ones((2, 3))
    frozen.flags.writeable = False
    for g in (frozen, np.broadcast_to(np.float32(1), (2, 3)), torch.ones(2, 3)):
        optimizer.step(g)
    assert (p == -3).all()


def test_bind():
    p, g = np.zeros(5, np.float32), np.ones(5, np.float32)
    optimizer = fo.SGD(p, lr=1.0)
    with pytest.raises(TypeError, match="to bind"):
        fo.SGD(np.zeros(())).bind(1.0)
    optimizer.bind(g)
    assert optimizer.step() is True
    g[:] = 2
    optimizer.step()
    optimizer.step(np.full(5, 4.0))
    optimizer.step()
    assert (p == -9).all()
    with pytest.raises(ValueError, match="shape"):
        optimizer.bind(np.ones(4))
    optimizer.step()
    assert (p == -11).all()


@pytest.mark.parametrize("case", CASES)
def test_resume_is_exact(case, tmp_path):
    def params():
        return {
            "w": np.asfortranarray(data(60, np.float32, 1).reshape(6, 10)),
            "s": np.zeros((4, 6))[::2, ::3],
            "z": np.zeros((0, 3)),
        }

    def grads(k):
        return {
            "w": data(60, np.float32, k).reshape(6, 10),
            "s": None if k % 3 == 0 else data(4, seed=k).reshape(2, 2),
            "z": np.zeros((0, 3)),
        }

    straight = make(case, params())
    for k in range(10):
        straight.step(grads(k))
    first = make(case, params())
    for k in range(5):
        first.step(grads(k))
    rng = np.random.default_rng(7)
    first.save(tmp_path / "run.npz", extra={"epoch": 5, "rng": rng.bit_generator.state, "best": np.arange(3)})
    second = make(case, params())
    extra = second.load(tmp_path / "run.npz")
    assert extra["epoch"] == 5 and extra["rng"] == rng.bit_generator.state and extra["best"].tolist() == [0, 1, 2]
    for k in range(5, 10):
        second.step(grads(k))
    assert second.fingerprint() == straight.fingerprint() and second.steps == straight.steps
    third = make(case, second.params)
    third.load_state_dict(second.state_dict())
    assert third.fingerprint() == second.fingerprint()


STRICT = {  # each differs in one thing from Adam({"w": np.ones(3)}, lr=0.1)
    "missing \\['v'\\], unexpected \\['w'\\]": lambda: fo.Adam({"v": np.ones(3)}, lr=0.1),
    "missing \\['v'\\], unexpected \\[\\]": lambda: fo.Adam({"w": np.ones(3), "v": np.ones(3)}, lr=0.1),
    "parameter 'w': shape \\(3,\\), expected \\(4,\\)": lambda: fo.Adam({"w": np.ones(4)}, lr=0.1),
    "parameter 'w': dtype float64, expected float32": lambda: fo.Adam({"w": np.ones(3, np.float32)}, lr=0.1),
    "rules \\['adam'\\], expected \\['amsgrad'\\]": lambda: fo.Adam({"w": np.ones(3)}, lr=0.1, amsgrad=True),
    "of Adam, expected AdamW": lambda: fo.AdamW({"w": np.ones(3)}, lr=0.1, weight_decay=0),
    "lr of group 0: saved 0.1, here 0.2": lambda: fo.Adam({"w": np.ones(3)}, lr=0.2),
    "betas of group 0": lambda: fo.Adam({"w": np.ones(3)}, lr=0.1, betas=(0.9, 0.99)),
    "maximize of group 0": lambda: fo.Adam({"w": np.ones(3)}, lr=0.1, maximize=True),
    "lr of group 0: saved 0.1, here {'schedule'": lambda: fo.Adam({"w": np.ones(3)}, lr=fo.schedules.constant(0.1)),
}


@pytest.mark.parametrize("message", STRICT)
def test_load_is_strict(message, tmp_path):
    path = tmp_path / "a.npz"
    optimizer = fo.Adam({"w": np.ones(3)}, lr=0.1)
    for _ in range(3):
        optimizer.step({"w": np.ones(3)})
    optimizer.save(path)
    wrong = STRICT[message]()
    wrong.step(dict.fromkeys(wrong.state, np.ones(wrong.params["w" if "w" in wrong.state else "v"].shape)))
    before = snapshot(wrong)
    with pytest.raises(ValueError, match=message):
        wrong.load(path)
    assert snapshot(wrong) == before


def test_hyperparameters_kept_or_restored(tmp_path):
    path = tmp_path / "a.npz"
    fo.Adam({"w": np.ones(3)}, lr=0.1).save(path)
    other = fo.Adam({"w": np.ones(3)}, lr=0.2)
    other.load(path, hyperparameters="keep")
    assert other.lr == 0.2
    other.load(path, hyperparameters="restore")
    assert other.lr == 0.1
    with pytest.raises(ValueError, match="expected None, 'keep' or 'restore'"):
        other.load(path, hyperparameters="maybe")


def test_functions_cannot_be_compared(tmp_path):
    path = tmp_path / "a.npz"
    fo.SGD(np.ones(3), lr=lambda t: 0.1).save(path)
    other = fo.SGD(np.ones(3), lr=lambda t: 0.2)
    with pytest.raises(ValueError, match=r"lr of group 0: saved .* say hyperparameters='keep'"):
        other.load(path)
    other.load(path, hyperparameters="keep")


RESUMED = """
import sys, numpy as np, fastopt as fo
optimizer = fo.Adam(np.zeros(1000, np.float32), lr=fo.schedules.linear_decay(0.1, 100))
extra = optimizer.load(sys.argv[1])
for k in range(extra["k"], 10):
    optimizer.step(np.random.default_rng(k).standard_normal(1000))
print(optimizer.fingerprint())
"""


def test_resume_in_a_new_process_is_exact(tmp_path):
    optimizer = fo.Adam(np.ones(1000, np.float32), lr=fo.schedules.linear_decay(0.1, 100))
    for k in range(10):
        if k == 5:
            optimizer.save(tmp_path / "a.npz", extra={"k": k})
        optimizer.step(np.random.default_rng(k).standard_normal(1000))
    out = subprocess.run([sys.executable, "-c", RESUMED, tmp_path / "a.npz"], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == optimizer.fingerprint()


def test_a_kill_in_the_middle_of_a_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    code = """
import os, signal, sys, numpy as np, fastopt as fo
optimizer = fo.Adam(np.ones(200_000), lr=0.1)
optimizer.save(sys.argv[1])
optimizer.step(np.ones(200_000))
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
optimizer.save(sys.argv[1])
"""
    out = subprocess.run([sys.executable, "-c", code, path], timeout=60)
    assert out.returncode == -9
    optimizer = fo.Adam(np.zeros(200_000), lr=0.1)
    optimizer.load(path)
    assert (optimizer.params == 1).all() and optimizer.steps == 0


def test_a_failing_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    optimizer = fo.Adam(np.ones(3))
    optimizer.save(path)
    old = path.read_bytes()
    with pytest.raises(TypeError, match="extra"):
        optimizer.save(path, extra={"f": object()})

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        optimizer.save(path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("case", CASES)
def test_copies(case):
    p, g = np.ones(5), np.full(5, 0.5)
    optimizer = make(case, {"p": p})
    optimizer.step({"p": g})
    optimizer.bind({"p": g})
    q, pickled = pickle.loads(pickle.dumps((p, optimizer)))
    assert pickled.params["p"] is q and pickled.fingerprint() == optimizer.fingerprint()
    deep = copy.deepcopy(optimizer)
    shallow = copy.copy(optimizer)
    assert shallow.params["p"] is p and deep.params["p"] is not p
    optimizer.step()
    deep.step()
    pickled.step()
    assert deep.fingerprint() == optimizer.fingerprint() == pickled.fingerprint() and same(q, p)
    assert shallow.steps == 1 and "1 steps" in repr(shallow)
    optimizer.reset()
    assert optimizer.steps == 0 and optimizer.state["p"]["step"] == 0


def test_state_has_the_phase_of_its_parameter_and_no_more_bytes():
    raw = np.zeros(10_000, np.float32)
    for offset in (0, 1, 5, 16):
        p = raw[offset : offset + 1000]
        state = fo.Adam(p).state["0"]
        for a in (state["m"], state["v"]):
            assert a.nbytes == p.nbytes and (a.ctypes.data - p.ctypes.data) % 64 == 0


def test_large_arrays_of_a_parameter_begin_at_different_places_of_a_page():
    p = np.zeros(1 << 16, np.float32)
    optimizer = fo.Adam(p, amsgrad=True, ema=0.9)
    arrays = [a for a in optimizer.state["0"].values() if isinstance(a, np.ndarray)]
    places = [(a.ctypes.data - p.ctypes.data) % 4096 for a in arrays]
    assert len(arrays) == 4 and all(place % 64 == 0 for place in places)
    assert min(b - a for a, b in itertools.pairwise(sorted([0, *places, 4096]))) >= 256


@pytest.mark.compiled
def test_nothing_is_allocated_in_steady_state():
    p, g = np.zeros(1000, np.float32), np.ones(1000, np.float32)
    optimizer = fo.Adam(p)
    optimizer.bind(g)
    for _ in range(10):
        optimizer.step()
    gc.collect()
    tracemalloc.start()  # which sees NumPy's memory too
    try:
        optimizer.step()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100):
            optimizer.step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 500, "an int for the count of steps, and no array"


@pytest.mark.compiled
def test_gradients_are_released():
    optimizer, g = fo.SGD([np.zeros(3), np.zeros(3)]), np.ones(3)
    before = sys.getrefcount(g)
    for _ in range(10):
        optimizer.step([g, g])
        with pytest.raises(TypeError):
            optimizer.step([g, "no"])
    assert sys.getrefcount(g) == before


@pytest.mark.compiled
def test_the_gil_is_released():
    n = 4_000_000
    optimizer = fo.Adam(np.zeros(n, np.float32), threads=1)
    optimizer.bind(np.ones(n, np.float32))
    seen, stop = [], threading.Event()

    def other():
        while not stop.is_set():
            seen.append(optimizer._at_work())

    thread = threading.Thread(target=other)
    thread.start()
    for _ in range(20):
        optimizer.step()
    stop.set()
    thread.join()
    assert any(seen)


def test_a_step_inside_a_step_is_refused():
    optimizer = fo.SGD(np.zeros(3), lr=lambda t: optimizer.step(np.ones(3)))
    with pytest.raises(RuntimeError, match="at work"):
        optimizer.step(np.ones(3))
    assert optimizer.steps == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_neither_hangs_nor_crashes():
    code = """
import os, numpy as np, fastopt as fo
p, g = np.zeros(500_000, np.float32), np.ones(500_000, np.float32)
o = fo.SGD(p, lr=1.0, threads=2)
o.step(g)
child = os.fork()
if child == 0:
    o.step(g)
    os._exit(0 if (p == -2).all() else 1)
assert os.waitpid(child, 0)[1] == 0
o.step(g)
assert (p == -2).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.compiled
def test_one_thread_starts_no_pool():
    code = """
import os, numpy as np, fastopt as fo
n = len(os.listdir("/proc/self/task"))
for threads in (1, None):
    size = 500_000 if threads else 30_000
    o = fo.SGD(np.zeros(size), threads=threads)
    o.bind(np.ones(size))
    for _ in range(100): o.step()
assert len(os.listdir("/proc/self/task")) == n
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("counts threads in /proc")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.compiled
def test_threadpoolctl_and_environment():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    from fastopt._engine import passes

    if not passes.openmp():
        pytest.skip("built without OpenMP")
    with threadpoolctl.threadpool_limits(1):
        assert passes.threads() == 1
    code = "from fastopt._engine import passes; print(passes.threads())"
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "3"}, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "3"


def test_groups_of_equal_hyperparameters_are_two():
    a, b = np.zeros(1), np.zeros(1)
    optimizer = fo.SGD([{"params": a}, {"params": b}], lr=1.0)
    optimizer.groups[1]["lr"] = 0.0
    optimizer.step([np.ones(1), np.ones(1)])
    assert a[0] == -1 and b[0] == 0


@pytest.mark.parametrize("count", [-1, True, 1.0, None, "3", 2**63])
def test_bad_counts_are_refused_before_anything_is_written(count):
    optimizer = fo.Adam({"a": np.ones(2), "b": np.ones(2)})
    optimizer.step({"a": np.ones(2), "b": np.ones(2)})
    before = snapshot(optimizer)
    for where in ("b", None):
        saved = optimizer.state_dict()
        saved["state"]["a"]["m"] += 1
        if where:
            saved["state"]["b"]["step"] = count
        else:
            saved["steps"] = count
        with pytest.raises(ValueError, match="expected a whole number of steps"):
            optimizer.load_state_dict(saved)
        assert snapshot(optimizer) == before


@pytest.mark.compiled
def test_what_runs_when_a_gradient_goes_finds_the_optimizer_at_work():
    class Gradient(np.ndarray):
        def __del__(self):
            with pytest.raises(RuntimeError, match="at work"):
                optimizer.step([np.ones(3), np.ones(3)])
            seen.append(1)

    class Fresh(list):
        def __getitem__(self, key):
            return Gradient(3)

    seen = []
    optimizer = fo.SGD([np.zeros(3), np.zeros(3)])
    optimizer.step(Fresh([1, 2]))
    assert len(seen) == 2
    optimizer.bind(Fresh([1, 2]))
    assert len(seen) == 2
    optimizer.bind([np.ones(3), np.ones(3)])
    assert len(seen) == 4 and optimizer.steps == 1


def test_containers_that_change_later_do_not_matter():
    tree = {"w": np.zeros(2), "b": np.zeros(2)}
    w = tree["w"]
    optimizer = fo.SGD([{"params": tree}], lr=1.0)
    tree["w"] = np.zeros(5)
    tree["x"] = np.zeros(5)
    optimizer.add_group({"params": [np.zeros(3)]})
    optimizer.step([{"w": np.ones(2), "b": None}, [None]])
    assert (w == -1).all() and list(optimizer.state) == ["0/w", "0/b", "1/0"] and copy.copy(optimizer).params[0]["w"] is w
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="share memory"):
        optimizer.add_group({"params": w})
    with pytest.raises(TypeError, match="group: unknown momentums"):
        optimizer.add_group({"params": np.zeros(1), "momentums": 1})
    assert snapshot(optimizer) == before
    with pytest.raises(ValueError, match="two parameters have the name '0/a/b'"):
        fo.SGD([{"params": {"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}}])
    with pytest.raises(ValueError, match="two parameters have the name '2/a/b'"):
        optimizer.add_group({"params": {"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}})
    with pytest.raises(ValueError, match="null character"):
        fo.SGD({"a\0b": np.zeros(1)})


@pytest.mark.parametrize("cls", [fo.SGD, fo.RMSprop])
@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_a_momentum_set_to_zero_later_is_copied(cls, options):
    if cls is fo.RMSprop:
        options = {"momentum": 0.9}
    optimizer = cls(np.ones(3), lr=0.1, **options)
    optimizer.step(np.ones(3))
    optimizer.groups[0]["momentum"] = 0
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert twin.fingerprint() == optimizer.fingerprint() and twin.groups[0]["momentum"] == 0


def test_a_schedule_that_sets_another_is_followed():
    def first(t):
        optimizer.groups[0]["lr"] = fo.schedules.constant(0.5)
        return 1.0

    p = np.zeros(1)
    optimizer = fo.SGD(p, lr=first)
    optimizer.step(np.ones(1))
    assert p[0] == -0.5 and optimizer.lr == 0.5


def test_an_optimizer_that_its_own_schedule_knows_is_copied():
    class Trainer:
        def __init__(self):
            self.optimizer = fo.Adam(np.ones(3), lr=self.rate)
            self.optimizer.trainer = self

        def rate(self, t):
            return 0.1

    trainer = Trainer()
    trainer.optimizer.step(np.ones(3))
    deep = copy.deepcopy(trainer.optimizer)
    assert deep.trainer.optimizer is deep and deep.groups[0]["lr"].__self__ is deep.trainer
    assert deep.fingerprint() == trainer.optimizer.fingerprint()


def test_one_huge_gradient_does_not_make_nan():
    for cls in (fo.Adam, fo.AdamW, fo.RMSprop):
        w = np.zeros(1, np.float32)
        optimizer = cls(w, lr=0.1)
        for g in (1e21, 1, 1):
            optimizer.step(np.full(1, g, np.float32))
        assert np.isfinite(w).all()


def test_numbers_and_names_that_nothing_can_hold():
    with pytest.raises(ValueError, match=r"lr: inf, expected 0 <= lr, a finite number"):
        fo.SGD(np.zeros(1), lr=10**400)
    with pytest.raises(ValueError, match="half a character"):
        fo.SGD({"\ud800": np.zeros(1)})
    with pytest.raises(ValueError, match=r"gamma=-0\.5, expected at least 0"):
        fo.schedules.exponential_decay(1.0, -0.5)


def test_a_schedule_that_sets_its_own_hyperparameter():
    def plateau(t):
        optimizer.groups[0]["lr"] = 0.5
        return 1.0

    p = np.zeros(1)
    optimizer = fo.SGD(p, lr=plateau)
    optimizer.step(np.ones(1))
    optimizer.step(np.ones(1))
    assert p[0] == -1.0 and optimizer.lr == 0.5


def test_nothing_is_read_or_written_beside_a_step(tmp_path):
    p = np.zeros(3)

    def beside(t):
        for call in (
            optimizer.state_dict,
            optimizer.fingerprint,
            optimizer.reset,
            lambda: optimizer.save(tmp_path / "a.npz"),
            lambda: optimizer.load_state_dict(saved),
            lambda: copy.copy(optimizer),
            lambda: optimizer.bind(np.ones(3)),
            lambda: optimizer.add_group({"params": np.zeros(1)}),
        ):
            with pytest.raises(RuntimeError, match="at work"):
                call()
        seen.append(t)
        return 1.0

    seen = []
    optimizer = fo.SGD([{"params": p}], lr=beside)
    saved = optimizer.state_dict()
    optimizer.step([np.ones(3)])
    assert seen == [0] and (p == -1).all() and not os.listdir(tmp_path)


def test_a_parameter_made_read_only_is_left_alone(tmp_path):
    a, b = np.zeros(2), np.zeros(2)
    optimizer = fo.SGD([a, b])
    optimizer.save(tmp_path / "a.npz")
    optimizer.bind([np.ones(2), np.ones(2)])
    b.flags.writeable = False
    for call in (optimizer.step, lambda: optimizer.step([np.ones(2), np.ones(2)]), lambda: optimizer.load(tmp_path / "a.npz")):
        with pytest.raises(ValueError, match="read-only"):
            call()
    assert not a.any() and optimizer.steps == 0


def test_without_its_constructor():
    with pytest.raises(RuntimeError, match="constructor"):
        fo.Adam.__new__(fo.Adam).step(np.ones(1))


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_file_has_the_users_permissions_and_a_link_stays_one(tmp_path):
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    fo.SGD(np.zeros(1)).save(tmp_path / "link.npz")
    (tmp_path / "other").touch()
    assert (tmp_path / "real.npz").stat().st_mode == (tmp_path / "other").stat().st_mode and (tmp_path / "link.npz").is_symlink()


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "other"])
def test_damaged_files_are_refused(damage, tmp_path):
    path = tmp_path / "a.npz"
    optimizer = fo.Adam(np.ones(300))
    optimizer.save(path)
    whole = path.read_bytes()
    if damage == "other":
        np.savez(path, a=np.ones(3))
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "cut": whole[:-100]}[damage])
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="not a file of fastopt's save, or damaged"):
        optimizer.load(path)
    assert snapshot(optimizer) == before


@pytest.mark.parametrize(
    ("process", "files", "expected"),
    [
        ("0::/a/b\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "250000 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "300000 100000"}, 3),
        ("4:cpu:/c\n", {"cpu/c/cpu.cfs_quota_us": "-1", "cpu/c/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/c\n", {"cpu/c/cpu.cfs_quota_us": "400000", "cpu/c/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_container_quotas(process, files, expected, tmp_path):
    from fastopt._engine.threads import quota

    (tmp_path / "cgroup").write_text(process)
    for name, text in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert quota(tmp_path / "cgroup", tmp_path / "sys") == expected
    assert quota(tmp_path / "nothing", tmp_path / "sys") is None


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="sets the affinity")
def test_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from fastopt._engine import passes; print(passes.threads())"
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip() == "1"


def test_arrays_reshaped_later_are_walked_as_they_were():
    w = np.zeros(12)
    optimizer = fo.Adam(w, lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        w.shape = (3, 4)
    with pytest.raises(ValueError, match=r"shape \(3, 4\), expected \(12,\)"):
        optimizer.step(np.ones((1000, 4))[:3])
    assert not w.any()
    optimizer.step(np.ones(12))
    assert (w == w[0, 0]).all() and w.any()
    m = optimizer.state["0"]["m"]
    m.flags.writeable = False
    optimizer.step(np.ones(12))
    assert optimizer.state["0"]["m"].flags.writeable and optimizer.state_dict()["state"]["0"]["m"].shape == (12,)


def test_shapes_that_a_subclass_makes_up():
    class Liar(np.ndarray):
        shape = property(lambda self: (3,))

    w = np.zeros(3)
    with pytest.raises((ValueError, TypeError)):
        fo.SGD(w, lr=1.0).step(np.ones(1).view(Liar))
    with pytest.raises((ValueError, TypeError)):
        fo.functional.sgd(w, np.ones(1).view(Liar), t=1, lr=1.0)
    assert not w.any()


def test_add_group_beside_steps():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    base = [np.ones(40)] * 100
    optimizer = fo.Adam([{"params": [np.zeros(40) for _ in base]}], threads=2)
    stop, seen = threading.Event(), []

    def work():
        while not stop.is_set():
            try:
                optimizer.step([base] + [np.ones(1)] * (len(optimizer.groups) - 1))
            except (RuntimeError, ValueError) as error:
                seen.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    added = 0
    try:
        while added < 20:
            try:
                optimizer.add_group({"params": np.zeros(1)})
                added += 1
            except RuntimeError as error:
                assert "at work" in str(error)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert len(optimizer.groups) == len(optimizer.state) - 99 == 21
    assert all("at work" in s or "entries, expected" in s for s in seen)


def test_an_interrupted_add_group_changes_nothing(monkeypatch):
    from fastopt._arrays import layout, overlap

    optimizer = fo.Adam([{"params": [np.zeros(3), np.zeros(3)]}])
    optimizer.step([[np.ones(3)] * 2])
    before = snapshot(optimizer)

    def interrupt(*_):
        raise KeyboardInterrupt

    for module, name in ((overlap, "ranges"), (layout, "zeros_like"), (overlap, "check_disjoint")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                optimizer.add_group({"params": np.zeros(3)})
        assert snapshot(optimizer) == before and len(optimizer.groups) == 1
    optimizer.step([[np.ones(3)] * 2])
    with pytest.raises(ValueError, match="share memory"):
        fo.SGD([{"params": np.zeros(2)}], momentum=0.9).add_group({"params": (w := np.zeros(2), w)})
    with pytest.raises(ValueError, match=r"state 'm' of '0/0'.* share memory|share memory"):
        optimizer.add_group({"params": optimizer.state["0/0"]["m"]})


def test_gradients_that_shrink_while_they_are_read():
    class Shrinking:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            grads[1:] = []
            return np.ones(3)

    optimizer = fo.SGD([[np.zeros(3)] for _ in range(50)], lr=1.0)
    grads = [Shrinking()] + [[np.ones(3)] for _ in range(49)]
    with pytest.raises((ValueError, IndexError)):
        optimizer.step(grads)
    assert optimizer.steps == 0


@pytest.mark.compiled
def test_a_bound_gradient_that_runs_code_when_it_goes():
    class Gradient(np.ndarray):
        def __del__(self):
            seen.append(optimizer.steps)
            with pytest.raises(RuntimeError, match="at work"):
                optimizer.add_group({"params": np.zeros(1)})

    seen = []
    optimizer = fo.Adam([{"params": [np.zeros(3) for _ in range(30)]}])
    optimizer.bind([[Gradient(3) for _ in range(30)]])
    optimizer.add_group({"params": np.zeros(1)})
    gc.collect()
    assert len(seen) == 30 and len(optimizer.groups) == 2


def test_restored_hyperparameters_are_checked_before_anything_is_written():
    optimizer, other = fo.Adam(np.ones(2)), fo.Adam(np.ones(2))
    optimizer.step(np.ones(2))
    before = snapshot(other)
    for key, value in [("lr", [0.5]), ("lr", -1), ("lr", None), ("betas", [0.9]), ("betas", [0.9, 2]), ("betas", 0.5)]:
        saved = optimizer.state_dict()
        saved["groups"][0][key] = value
        with pytest.raises((ValueError, TypeError)):
            other.load_state_dict(saved, hyperparameters="restore")
        assert snapshot(other) == before
    saved["groups"][0]["betas"] = [0.5, 0.75]
    other.load_state_dict(saved, hyperparameters="restore")
    assert other.groups[0]["betas"] == (0.5, 0.75) and other.steps == 1


@pytest.mark.parametrize(
    "change",
    [
        {"state": []},
        {"state": {"0": 3}},
        {"groups": 3},
        {"groups": [1]},
        {"groups": "x"},
        {"optimizer": 3},
        {"format": 2},
        {"steps": None},
    ],
)
def test_malformed_states_are_refused(change):
    optimizer = fo.Adam(np.ones(2))
    before = snapshot(optimizer)
    for state in ({**optimizer.state_dict(), **change}, {k: v for k, v in optimizer.state_dict().items() if k not in change}, None):
        with pytest.raises(ValueError):
            optimizer.load_state_dict(state)
    assert snapshot(optimizer) == before


def test_steps_without_any_gradient_do_not_count():
    optimizer = fo.SGD({"w": np.ones(1), "layers": [np.ones(2), np.ones(3)]}, lr=1.0)
    before = snapshot(optimizer)
    assert optimizer.step({"w": None, "layers": None}) is False and snapshot(optimizer) == before
    assert optimizer.step({"w": np.ones(1), "layers": None}) is True
    assert optimizer.steps == 1 and [s["step"] for s in optimizer.state.values()] == [1, 0, 0]


def test_without_a_constructor_or_an_instance():
    blank = fo.Adam.__new__(fo.Adam)
    for call in (
        lambda: repr(blank),
        lambda: blank.state,
        lambda: blank.params,
        lambda: blank.lr,
        lambda: blank.groups,
        blank.fingerprint,
        blank.state_dict,
        blank.reset,
    ):
        with pytest.raises(RuntimeError, match="its constructor has not run"):
            call()
    for call in (lambda: fo.Adam.step(np.ones(1)), lambda: fo.Adam.bind(np.ones(1), np.ones(1))):
        with pytest.raises((TypeError, AttributeError)):
            call()


def test_hyperparameters_are_set_in_groups():
    optimizer = fo.SGD(np.zeros(2), lr=0.1, momentum=0.9)
    with pytest.raises(AttributeError, match=r"optimizer.groups\[0\]\['momentum'\] = 0.5"):
        optimizer.momentum = 0.5
    rate = np.array(0.5)
    optimizer.lr = rate
    rate[...] = 7
    assert optimizer.lr == optimizer.groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    "groups", [{"params": np.ones(1), "lr": 1.0}, [{"param": np.ones(1), "lr": 1.0}], [{"params": np.ones(1)}, {"lr": 1}]]
)
def test_groups_of_the_wrong_form_are_told(groups):
    with pytest.raises(ValueError, match=r"expected .*\[\{'params': \.\.\., 'lr': \.\.\.\}, \.\.\.\]"):
        fo.SGD(groups)


def test_extra_values_of_every_kind(tmp_path):
    path = tmp_path / "a.npz"
    optimizer = fo.SGD(np.zeros(2))
    states = {k: k(3).state for k in (np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64)}
    extra = {"deep": {"a": [np.arange(3), (1, np.float32(0.5), None, True)], "b": {}}, "x/y": np.ones(2)}
    extra |= {kind.__name__: state for kind, state in states.items()}
    optimizer.save(path, extra)
    found = optimizer.load(path)
    np.testing.assert_equal(found, {**extra, "deep": {"a": [np.arange(3), [1, 0.5, None, True]], "b": {}}})
    for wrong in ({"a": {"b": object()}}, {"a": [1j]}, {"a": np.array([None])}, {"a": {1: 2}}):
        with pytest.raises(TypeError, match=r"extra/a"):
            optimizer.save(path, wrong)
    np.testing.assert_equal(optimizer.load(path), found)
    for nowhere in (tmp_path, tmp_path / "no" / "a.npz"):
        with pytest.raises(OSError, match=f"{nowhere}: expected the path of a file"):
            optimizer.save(nowhere)


def test_a_schedule_that_sets_another_groups_hyperparameter():
    def schedule(step):
        optimizer.groups[0]["lr"] = 5.0
        return 1.0

    a, b = np.zeros(1), np.zeros(1)
    optimizer = fo.SGD([{"params": a, "lr": 1.0}, {"params": b, "lr": schedule}])
    optimizer.step([np.ones(1)] * 2)
    assert a[0] == -5 and b[0] == -1
    with pytest.raises(TypeError):
        optimizer.step([np.ones(1)] * 2, scale="2")


def test_files_that_lost_a_member(tmp_path):
    path, less = tmp_path / "a.npz", tmp_path / "b.npz"
    optimizer = fo.Adam(np.ones(3))
    optimizer.save(path, extra={"x": np.ones(2)})
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(less, "w") as part:
        for name in whole.namelist():
            if name != "extra/x.npy":
                part.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match="members are missing"):
        optimizer.load(less)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(less, "w") as part:
        for name in whole.namelist():
            text = whole.read(name)
            if name == "extra/x.npy":
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.array([print], object))
                text = buffer.getvalue()
            part.writestr(name, text)
    with pytest.raises(ValueError, match="pickle"):
        optimizer.load(less)
    with pytest.raises(TypeError, match="MaskedArray"):
        optimizer.save(path, extra={"x": np.ma.ones(3)})
    assert set(optimizer.load(path)) == {"x"}


@pytest.mark.compiled
def test_an_optimizer_that_its_bound_gradient_knows_is_collected():
    class Gradient(np.ndarray):
        pass

    g = np.ones(3).view(Gradient)
    optimizer = g.owner = fo.SGD(np.zeros(3))
    optimizer.bind(g)
    gone = weakref.ref(optimizer)
    del optimizer, g
    gc.collect()
    assert gone() is None


def test_a_failed_bind_leaves_the_old_gradients():
    a, b = np.zeros(3), np.zeros(3)
    optimizer = fo.SGD([a, b], lr=1.0)
    optimizer.bind([np.ones(3), np.ones(3)])
    with pytest.raises(ValueError, match="gradient of '1': shape"):
        optimizer.bind([np.full(3, 50.0), np.ones(4)])
    gc.collect()
    optimizer.step()
    assert (a == -1).all() and (b == -1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize("case", CASES)
def test_reset_is_as_at_construction(case, dtype):
    p = np.ones(5, dtype)
    optimizer = make(case, p)
    fresh = optimizer.fingerprint()
    optimizer.step(np.full(5, 2, dtype))
    assert optimizer.fingerprint() != fresh
    p[:] = 1  # some state begins as a copy of it
    optimizer.reset()
    assert optimizer.fingerprint() == fresh


def test_copies_keep_what_a_subclass_has():
    class Mine(fo.Adam):
        pass

    class Rate:
        factor = 1.0

        def __call__(self, step):
            return 0.1 * self.factor

    rate, p, g = Rate(), np.ones(2), np.ones(2)
    optimizer = Mine({"p": p}, lr=rate, threads=1)
    optimizer.tag = {"p": p}
    optimizer.bind({"p": g})
    shallow, deep = copy.copy(optimizer), copy.deepcopy(optimizer)
    assert shallow.tag["p"] is p and shallow.groups[0]["lr"] is rate and shallow._settings.threads == 1
    assert type(deep) is Mine and deep.tag["p"] is deep.params["p"] and deep.params["p"] is not p
    rate.factor = 0.0
    g[:] = 0
    deep.step()
    assert deep.params["p"][0] < 1 and deep.groups[0]["lr"].factor == 1
    deeper = copy.deepcopy({"optimizer": optimizer, "p": p, "g": g})
    deeper["g"][:] = 1
    deeper["optimizer"].groups[0]["lr"] = 0.1
    deeper["optimizer"].step()
    assert (deeper["p"] < 1).all() and (p == 1).all()


def test_wrong_arguments_are_named():
    w = np.ones(2)
    for error, message, call in [
        (TypeError, "Adam: unknown learning_rate, expected among lr, betas", lambda: fo.Adam(w, learning_rate=1)),
        (TypeError, "amsgrad: 2, expected True or False", lambda: fo.Adam(w, amsgrad=2)),
        (TypeError, "nesterov: 'no', expected True or False", lambda: fo.SGD(w, nesterov="no")),
        (TypeError, "maximize: None, expected True or False", lambda: fo.SGD(w, maximize=None)),
        (TypeError, "lr: True, expected a number or a schedule", lambda: fo.SGD(w, lr=True)),
        (TypeError, "lr: '1', expected a number or a schedule", lambda: fo.SGD(w, lr="1")),
        (TypeError, "lr: <class .*linear_decay.*expected a number", lambda: fo.SGD(w, lr=fo.schedules.linear_decay)),
        (TypeError, "momentum: array.*expected a number", lambda: fo.SGD(w, momentum=np.ones(3))),
        (ValueError, "betas: 0.9, expected 2 values", lambda: fo.Adam(w, betas=0.9)),
        (ValueError, "betas: .*, expected 2 values", lambda: fo.Adam(w, betas=(0.9, 0.9, 0.9))),
        (ValueError, "threads: 0", lambda: fo.Adam(w, threads=0)),
        (TypeError, "parameter '0': NoneType", lambda: fo.Adam(None)),
        (ValueError, "no arrays", lambda: fo.Adam({})),
        (TypeError, "linear_decay: initial='a', expected a number", lambda: fo.schedules.linear_decay("a", 3)),
        (ValueError, "linear_decay: steps=nan, expected a finite number", lambda: fo.schedules.linear_decay(1.0, float("nan"))),
        (TypeError, "constant: value=True, expected a number", lambda: fo.schedules.constant(True)),
        (TypeError, "initial_accumulator_value: True", lambda: fo.Adagrad(w, initial_accumulator_value=True)),
        (ValueError, "nesterov: expected a momentum", lambda: fo.SGD(w, nesterov=True)),
    ]:
        with pytest.raises(error, match=message):
            call()
    fo.Adam(w, amsgrad=np.True_, threads=np.int64(2), lr=np.float32(0.1))
    assert list(fo.SGD({"": w}).state) == [""] and "'lr': 0.001" in repr(fo.SGD(w).groups)


def test_gradients_that_give_no_array():
    torch = pytest.importorskip("torch")

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("out of order")

    class Tensor:
        def __init__(self, a):
            self.a = a

        def __dlpack__(self, **options):
            return self.a.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.a.__dlpack_device__()

    w = np.ones(2)
    optimizer = fo.SGD({"w": w}, lr=1.0)
    for bad in (Broken(), torch.ones(2).to_sparse(), torch.ones(2, device="meta")):
        with pytest.raises(TypeError, match=r"gradient of 'w': (Broken, which gives no array|a tensor (on|of))"):
            optimizer.step({"w": bad})
    optimizer.step({"w": Tensor(np.ones(2))})
    assert (w == 0).all()


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("serial", "parallel", "other", "steps", "most"),
    [
        (550e-6, 230e-6, False, 1000, 1.1 * 230e-6),  # pays
        (550e-6, lambda k: 1000e-6 if k < 10 else 230e-6, False, 1000, 1.1 * 230e-6),  # once the threads are awake
        (550e-6, lambda k: 9e-3 if k % 200 == 100 else 230e-6, False, 1000, 1.15 * (230e-6 + 9e-3 / 200)),  # interrupted
        (550e-6, 600e-6, False, 2000, 1.1 * 550e-6),  # never pays
        (550e-6, 5e-3, False, 2000, 1.2 * 550e-6),
        (25e-6, 6.7e-3, True, 20_000, 1.5 * 25e-6),  # after a matrix product
        (25e-6, 6.7e-3, True, 200, 1.0001 * 25e-6),
        (600e-6, 5e-3, True, 2000, 1.1 * 600e-6),
        (9e-3, 14e-3, True, 200, 1.2 * 9e-3),
        (lambda k: 30e-3 if k < 6 else 9e-3, 14e-3, True, 400, 1.2 * 9e-3),  # whose first steps were slow
        (9e-3, 5e-3, True, 200, 1.2 * 5e-3),  # another caller, whose processors are free
    ],
)
def test_threads_are_chosen_by_the_clock(serial, parallel, other, steps, most):
    from fastopt._engine import passes

    took = [x if callable(x) else lambda k, x=x: x for x in (serial, parallel)]
    _, total = passes.simulate(*took, steps, other)
    assert total <= most * steps


@pytest.mark.compiled
def test_threads_that_spin_on_a_shared_core_do_not_pay():
    """Serial steps are slow, too, while a worker still spins, so that they say nothing of what they would take without."""
    from fastopt._engine import passes

    spun = 0.0

    def serial(k):
        nonlocal spun
        spun = max(0.0, spun - 80e-6)
        return 300e-6 if k == 0 else 80e-6 if spun else 50e-6  # the first is cold

    def parallel(_):
        nonlocal spun
        spun = 3e-3
        return 80e-6

    chosen, total = passes.simulate(serial, parallel, 20_000, False)
    assert total <= 1.1 * 50e-6 * 20_000 and np.mean(chosen[10_000:]) < 0.1


@pytest.mark.compiled
@pytest.mark.parametrize(("elements", "threads", "started"), [(70_000, 8, 1), (300_000, 3, 2), (40_000, 8, 0), (300_000, 1, 0)])
def test_at_most_a_thread_for_each_grain_of_work(elements, threads, started):
    code = """
import os, sys, numpy as np, fastopt as fo
elements, threads = map(int, sys.argv[1:])
n = len(os.listdir("/proc/self/task"))
fo.SGD([np.zeros(elements // 2), np.zeros(elements - elements // 2)], threads=threads).step([np.ones(elements // 2)] * 2)
print(len(os.listdir("/proc/self/task")) - n)
"""
    from fastopt._engine import passes

    if not os.path.isdir("/proc/self/task") or not passes.openmp():
        pytest.skip("counts OpenMP's threads in /proc")
    command = [sys.executable, "-c", code, str(elements), str(threads)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(out.stdout) == started


def test_the_systems_limit(monkeypatch):
    from fastopt._engine import threads

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "quota", lambda: 1)
    assert threads.limit() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads.limit() == 0


def test_loading_says_which_option_differs(tmp_path):
    def made(**options):
        return fo.Adam({"w": np.ones(3, np.float32)}, lr=0.1, **options)

    made().save(tmp_path / "run.npz")
    for options, message in [
        ({"state_dtype": "float8"}, "state_dtype: saved None, here 'float8'; construct with it"),
        ({"ema": 0.9}, "ema: saved without averages; construct with the same"),
    ]:
        for policy in (None, "keep"):
            with pytest.raises(ValueError, match=message):
                made(**options).load(tmp_path / "run.npz", hyperparameters=policy)
    made(ema=0.9).save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="ema: saved with averages"):
        made().load(tmp_path / "run.npz", hyperparameters="keep")


def test_repr_shows_what_was_asked_for():
    optimizer = fo.Adam(np.ones(3), convention="keras", nonfinite="skip", threads=1)
    for part in ("nonfinite='skip'", "threads=1", "convention='keras'"):
        assert part in repr(optimizer)
    assert "seed" not in repr(optimizer) and "convention" not in repr(fo.Adam(np.ones(3)))
    assert repr(copy.deepcopy(optimizer)) == repr(optimizer)


@pytest.mark.parametrize("value", [True, False, "3e-3"])
def test_groups_refuse_what_is_no_number(value):
    optimizer = fo.SGD(np.zeros(2), lr=1e-3, weight_decay=0.1, clip_norm=1.0)
    for key in ("lr", "weight_decay", "clip_norm"):
        with pytest.raises(TypeError, match=f"{key}: {value!r}, expected a number"):
            optimizer.groups[0][key] = value
    assert optimizer.lr == 1e-3 and optimizer.groups[0]["weight_decay"] == 0.1


def test_a_second_construction_does_not_begin_in_a_step():
    class Gradient:
        def __array__(self, dtype=None, copy=None):
            optimizer.__init__([np.ones(3), np.ones(2)])
            return np.ones(3)

    optimizer = fo.SGD([np.zeros(3), np.zeros(2)], lr=1.0)
    with pytest.raises(TypeError, match="at work"):
        optimizer.step([Gradient(), np.ones(2)])
    assert optimizer.step([np.ones(3), None]) and (optimizer.params[0] == -1).all()
    optimizer.__init__([np.ones(1)], lr=0.5)
    assert optimizer.step([np.ones(1)]) and optimizer.params[0][0] == 0.5 and len(optimizer.state) == 1
