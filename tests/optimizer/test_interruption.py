"""All or nothing whatever raises: signal handlers and lack of memory at every opportunity of every call."""

import copy
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import interruptions
import numpy as np
import pytest
from cases import make
from custom_rules import again
from interruptions import all_of, allocator, interrupted, is_free, short_of_memory

import fastopt as fo
from fastopt._engine import compile as compiler

pytestmark = pytest.mark.filterwarnings(
    "ignore:bounds of .* were outside",
    "ignore:unclosed file",
    # What a handler raises while an object goes away, Python can only print.
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
SHAPES = {"w": (26, 25), "b": (700,)}


class Life:
    """An optimizer after a step, and a file of it after another."""

    def __init__(self, folder, case="adam", dtype=np.float32, **options):
        self.params = {k: np.linspace(-1, 1, int(np.prod(s)), dtype=dtype).reshape(s) for k, s in SHAPES.items()}
        self.grads = {k: (p * p - 0.3).astype(dtype) for k, p in self.params.items()}
        groups = [{"params": {"w": self.params["w"]}, "lr": 0.02}, {"params": {"b": self.params["b"]}}]
        self.optimizer = make(case, groups, **options)
        self.path = folder / "run.npz"
        self.given = [{"w": self.grads["w"]}, {"b": self.grads["b"]}]
        self.optimizer.step(self.given)
        self.optimizer.save(self.path, {"epoch": 1, "noise": np.arange(3)})
        self.saved = self.optimizer.state_dict()
        self.optimizer.step(self.given)
        self.optimizer.groups[1]["lr"] = 0.5

    def all(self):
        return all_of(self.optimizer, *self.params.values())


def rows(life):
    table = np.ones((40, 3), np.float32)
    life.params = {"table": table}
    life.optimizer = fo.Adam({"table": table}, lr=lambda t: 0.1 / (1 + t), mode="exact")
    life.optimizer.step({"table": fo.RowGradient([1, 5], np.ones((2, 3), np.float32))})
    life.optimizer.step({"table": fo.RowGradient([7], np.ones((1, 3), np.float32))})
    return life.optimizer.catch_up


OPERATIONS = {
    "bind": lambda life: lambda: life.optimizer.bind(life.given),
    "step": lambda life: lambda: life.optimizer.step(life.given),
    "bound": lambda life: life.optimizer.bind(life.given) or life.optimizer.step,
    "catch_up": rows,
    "report": lambda life: life.optimizer.report,
    "explain": lambda life: lambda: life.optimizer.explain("1/b", 2, 0.5),
    "fingerprint": lambda life: life.optimizer.fingerprint,
    "state_dict": lambda life: life.optimizer.state_dict,
    "load_state_dict": lambda life: lambda: life.optimizer.load_state_dict(life.saved, hyperparameters="restore"),
    "save": lambda life: lambda: life.optimizer.save(life.path, {"epoch": 2}),
    "load": lambda life: lambda: life.optimizer.load(life.path, hyperparameters="restore"),
    "reset": lambda life: life.optimizer.reset,
    "copy": lambda life: lambda: copy.deepcopy(life.optimizer),
    "pickle": lambda life: lambda: pickle.loads(pickle.dumps(life.optimizer)),
    "steps": lambda life: lambda: setattr(life.optimizer, "steps", 7),
    "lr": lambda life: lambda: setattr(life.optimizer, "lr", 0.125),
    "group": lambda life: lambda: life.optimizer.groups[0].update(lr=fo.schedules.linear_decay(1.0, steps=9), betas=(0.5, 0.25)),
    "state": lambda life: lambda: life.optimizer.state["0/w"].update(m=np.ones((26, 25)), v=np.full((26, 25), 2.0), step=9),
    "add_group": lambda life: lambda: life.optimizer.add_group({"params": {"more": np.ones(3)}, "bounds": (2, 3)}),
}
STEPS = {
    "adam-all": ("adam", {"clip_global_norm": 0.5, "ema": 0.9, "norms": True, "bounds": (-0.9, 0.9), "weight_decay": 0.1}),
    "accumulate": ("adam", {"accumulate": 2, "nonfinite": "skip"}),
    "float8": ("adam", {"state_dtype": "float8"}),
    "muon": ("muon", {}),
    "adafactor": ("adafactor", {}),
    "prodigy": ("prodigy", {}),
    "nadam": ("nadam", {"nonfinite": "raise"}),
}
WAYS = {"signal": interrupted, "shortage": partial(interrupted, error=MemoryError)}
if allocator():
    WAYS = {"allocator": short_of_memory}


def places(request):
    """The next opportunity after the k-th; all with ``--long``, else fewer and fewer."""
    return lambda k: k + 1 + (0 if request.config.getoption("--long") else k // (40 if request.config.getoption("--full") else 12))


def at_every_opportunity(begin, way, after, check=lambda life: None):
    """Interrupt an operation at each of these opportunities, until it comes to its end; return their number."""
    k, seen = 1, 0
    while True:
        life, operation = begin()
        before = life.all()
        reached = way(operation, k)
        assert is_free(life.optimizer)
        if not reached:
            return seen
        whole, complete = begin()
        complete()
        assert life.all() in (before, whole.all()), k
        check(life)
        seen, k = seen + 1, after(k)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_all_or_nothing(name, way, tmp_path, request, capsys):
    def begin():
        life = Life(tmp_path)
        return life, OPERATIONS[name](life)

    def left_over(life):
        assert os.listdir(tmp_path) == ["run.npz"]
        with np.load(life.path) as file:
            assert "param/0/w" in file or "param/table" in file

    seen = at_every_opportunity(begin, WAYS[way], places(request), left_over)
    assert seen or way == "allocator" or name == "bound", "a bound step calls no Python"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", STEPS)
def test_steps_are_all_or_nothing(name, way, tmp_path, request):
    case, options = STEPS[name]

    def begin():
        life = Life(tmp_path, case, **options)
        if way == "allocator":
            # The first step makes what later ones keep.
            life.optimizer = copy.deepcopy(life.optimizer)
            life.params = dict(zip(SHAPES, [p for group in life.optimizer.params for p in group.values()], strict=True))
        return life, lambda: life.optimizer.step(life.given)

    seen = at_every_opportunity(begin, WAYS[way], places(request), lambda life: life.optimizer.step(life.given))
    assert seen or way == "allocator"


@pytest.mark.parametrize("way", WAYS)
def test_construction_moves_all_parameters_or_none(way, request):
    start, k, seen = np.linspace(-3, 3, 700), 1, 0
    while True:
        params = {"a": start.copy(), "b": start.astype(np.float32)}
        reached = WAYS[way](lambda params=params: fo.AdamW(params, bounds=(-1, 1), ema=0.9), k)
        moved = [np.abs(p).max() == 1 for p in params.values()]
        assert moved in ([True, True], [False, False]), k
        if not reached:
            break
        seen, k = seen + 1, places(request)(k)
    assert seen > 10 and all(moved)


@pytest.mark.compiled
@pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("cc") or allocator(), reason="preloads an allocator")
def test_an_allocator_that_fails(tmp_path):
    library = tmp_path / "allocator.so"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", Path(interruptions.__file__).with_name("allocator.c"), "-o", library], check=True
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--full", "--long", __file__]
    env = {**os.environ, "LD_PRELOAD": str(library)}
    out = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert out.returncode == 0 and " passed" in out.stdout, out.stdout[-3000:]


def test_a_storm_of_signals_during_steps(monkeypatch):
    # An exception raised where Python can only report it would be reported, and the report interrupted.
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)

    def stepping():
        while True:
            optimizer.step(grads)

    def handler(number, frame):
        # Elsewhere, such as where an exception is handled, it would interrupt the test itself.
        while frame is not None:
            if frame.f_code is stepping.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back

    def made():
        return fo.Adam({"p": np.ones(3000), "q": np.ones(5)}, lr=lambda t: 1e-3)

    optimizer, twin, raised = made(), made(), 0
    grads = {"p": np.ones(3000), "q": np.ones(5)}
    before, end = signal.signal(signal.SIGALRM, handler), time.monotonic() + 20
    signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
    while (optimizer.steps < 500 or raised < 10) and time.monotonic() < end:
        try:
            stepping()
        except KeyboardInterrupt:
            raised += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    for _ in range(optimizer.steps):
        twin.step(grads)
    assert raised >= 10 and optimizer.fingerprint() == twin.fingerprint()


@pytest.mark.compiled
@pytest.mark.skipif(not shutil.which("cc") or allocator(), reason="compiles")
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up", "ignore:subprocess .* is still running")
def test_compiling_is_all_or_nothing(tmp_path, monkeypatch, request):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    build, built = compiler.compiled, {}

    def copied(name, text, options, folder):
        """The compiler's work, done once."""
        if name not in built:
            made = build(name, text, options, folder)
            built[name] = made.name, made.read_bytes()
        file, contents = built[name]
        (folder / file).write_bytes(contents)
        return folder / file

    monkeypatch.setattr(compiler, "compiled", copied)
    k, reached = 0, True
    while reached:
        k = places(request)(k)
        monkeypatch.setattr(again.formula, "capsule", None)
        shutil.rmtree(tmp_path)
        tmp_path.mkdir(mode=0o700)
        reached = interrupted(lambda: fo.compile(again), k) and k
        assert all(path.is_file() and path.suffix in (".so", ".sha256") for path in tmp_path.iterdir()), k
        fo.compile(again)
        a, b = np.ones(50), np.ones(50)
        for optimizer in (fo.optimizer(again, a), fo.Adam(b)):
            optimizer.step(np.linspace(-1, 1, 50))
        assert (a == b).all() and again.formula.capsule is not None
    assert k > 50
