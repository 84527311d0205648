"""Restart files: what they hold, who may read them, and that damaged ones are refused in bounded memory."""

import copy
import errno
import json
import math
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from cases import CASES, make, snapshot

import fastopt as fo


def saved(path, **options):
    optimizer = fo.Adam({"w": np.ones(3)}, lr=0.1, **options)
    optimizer.step({"w": np.ones(3)})
    optimizer.save(path)
    return optimizer


def with_members(path, changed):
    """Write a file again with other contents of some members; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in {**members, **changed}.items():
            if contents is not None:
                archive.writestr(name, contents)


def test_extra_keys_with_slashes_are_different_keys(tmp_path):
    optimizer = saved(tmp_path / "a.npz")
    extra = {"a/b": np.ones(2), "a": {"b": np.zeros(2), "%2F": np.arange(3), "/": np.arange(4)}, "a%2Fb": np.arange(5)}
    optimizer.save(tmp_path / "a.npz", extra)
    np.testing.assert_equal(optimizer.load(tmp_path / "a.npz"), extra)
    for wrong in ("\ud800", "é\udcff😀", "null\0"):
        with pytest.raises(TypeError, match="extra"):
            optimizer.save(tmp_path / "a.npz", {wrong: np.ones(2)})
        with pytest.raises(ValueError, match="half a character"):
            fo.SGD({wrong: np.ones(2)})
    with pytest.raises(ValueError, match="characters"):
        optimizer.save(tmp_path / "a.npz", {"k" * 70_000: np.ones(2)})


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"])
def test_extra_arrays_of_ml_dtypes_keep_their_dtype(kind, tmp_path):
    a = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, kind)).T
    optimizer = saved(tmp_path / "a.npz")
    optimizer.save(tmp_path / "a.npz", {"a": a, "ours": np.zeros(2, fo.bfloat16)})
    found = optimizer.load(tmp_path / "a.npz")
    assert found["a"].dtype == a.dtype and (found["a"] == a).all()
    assert dict(found["ours"].dtype.metadata) == dict(fo.bfloat16.metadata)
    with pytest.raises(TypeError, match="expected a dtype of NumPy or of ml_dtypes"):
        optimizer.save(tmp_path / "a.npz", {"a": np.zeros(2, [("x", ml_dtypes.bfloat16)])})


def test_extra_arrays_of_every_kind_of_numpy(tmp_path):
    kinds = ["?", "i1", ">i4", "u8", "f2", ">f8", "g", "c8", "S3", "U2", "M8[s]", "m8[D]", "V5", [("ä", "f4", (2,)), ("b", "S1")]]
    extra = {f"{k}": np.zeros((2, 3), kind, order="F") for k, kind in enumerate(kinds)} | {
        "empty": np.zeros((0, 4)),
        "0d": np.array(3),
    }
    optimizer = saved(tmp_path / "a.npz")
    optimizer.save(tmp_path / "a.npz", extra)
    found = optimizer.load(tmp_path / "a.npz")
    assert {k: (a.dtype, a.shape, a.tobytes()) for k, a in found.items()} == {
        k: (a.dtype, a.shape, a.tobytes()) for k, a in extra.items()
    }


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_new_file_has_the_access_of_the_old_one(tmp_path):
    path = tmp_path / "a.npz"
    optimizer = saved(path)
    for mode in (0o600, 0o640, 0o444):
        path.chmod(mode)
        optimizer.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    if os.geteuid() == 0:
        os.chown(path, 1234, 5678)
        optimizer.save(path)
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678) and stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(OSError, match="a pipe, a device or a socket"):
            fo.SGD(np.zeros(2)).save(path)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("name", ["n" * 251 + ".npz", "é" * 125 + ".npz", "a[b]*?.npz", "plain"])
def test_names_up_to_the_limit(name, tmp_path):
    optimizer = saved(tmp_path / name)
    (tmp_path / "other.tmp").touch()
    optimizer.save(tmp_path / name)
    optimizer.load(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "other.tmp"])


SAVING = """
import os, sys, numpy as np, fastopt as fo
optimizer = fo.Adam({"w": np.ones(20_000)}, lr=0.1, threads=1)
for _ in sys.stdin:
    child = os.fork()
    while child == 0:
        optimizer.step({"w": np.ones(20_000)})
        optimizer.save(sys.argv[1], {"steps": optimizer.steps})
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills of POSIX")
def test_kills_leave_the_old_file_or_the_new_one_and_nothing_after_the_next_save(tmp_path, request):
    path, drawn, interrupted = tmp_path / "a.npz", random.Random(0), 0
    reader = fo.Adam({"w": np.ones(20_000)}, lr=0.1)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    saver = subprocess.Popen([sys.executable, "-c", SAVING, path], **pipes)
    for _ in range(1000 if request.config.getoption("--long") else 100):
        saver.stdin.write("fork\n")
        child = int(saver.stdout.readline())
        time.sleep(drawn.uniform(0.001, 0.02))
        os.kill(child, signal.SIGKILL)
        assert saver.stdout.readline() == "ended\n"
        interrupted += len(os.listdir(tmp_path)) > path.exists()
        if path.exists():
            assert reader.load(path)["steps"] == reader.steps
            check = fo.Adam({"w": np.ones(20_000)}, lr=0.1)
            for _ in range(reader.steps):
                check.step({"w": np.ones(20_000)})
            assert check.fingerprint() == reader.fingerprint()
        reader.save(path)
        assert os.listdir(tmp_path) == ["a.npz"]
        path.unlink()
    saver.communicate(timeout=60)
    assert interrupted and saver.returncode == 0


def test_savers_of_the_same_path_do_not_meet(tmp_path):
    def work():
        optimizer = fo.SGD({"w": np.ones(2000)})
        try:
            for _ in range(30):
                optimizer.save(tmp_path / "a.npz")
        except BaseException as error:
            errors.append(error)

    errors = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and os.listdir(tmp_path) == ["a.npz"]
    fo.SGD({"w": np.ones(2000)}).load(tmp_path / "a.npz")


def bombs(path):
    """Changes of a file of a kilobyte, which then holds, or promises, far more."""
    text = zipfile.ZipFile(path).read("param/w.npy")
    yield partial(recompressed, path, {"param/w.npy": np.zeros(5_000_000).tobytes()})
    yield partial(recompressed, path, {"fastopt.json": b'"' + b"a" * 40_000_000 + b'"'})
    yield partial(recompressed, path, {"unknown": bytes(40_000_000)})
    for shape in ("(500000000,)", "(50000000000,)", "(0, 99999999999999999999)", "(-1, -3)", "(True,)", "'x'", "None"):
        yield partial(with_members, path, {"param/w.npy": text.replace(b"(3,)", shape.encode())})
    for descr in ("'<f4'", "'|S0'", "'|V0'", "'|O'", "'<f99'", "[('a', '<f8')]", "{}", "1"):
        yield partial(with_members, path, {"param/w.npy": text.replace(b"'<f8'", descr.encode())})
    yield partial(with_members, path, {"fastopt.json": b"[" * 100_000})
    yield partial(with_members, path, {"fastopt.json": b"[]"})
    yield partial(with_members, path, {"param/w.npy": None})
    yield partial(with_members, path, {"more.npy": text})


def recompressed(path, changed):
    with_members(path, changed)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)


def test_files_that_hold_too_much_are_refused_before_they_take_memory(tmp_path):
    path = tmp_path / "a.npz"
    optimizer = saved(path)
    good, before = path.read_bytes(), snapshot(optimizer)
    for bomb in list(bombs(path)):
        path.write_bytes(good)
        bomb()
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"not a file of fastopt.s save, or damaged"):
            optimizer.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5_000_000 and snapshot(optimizer) == before, bomb


def test_lack_of_memory_is_no_damage(tmp_path, monkeypatch):
    optimizer = saved(tmp_path / "a.npz")

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(MemoryError):
        optimizer.load(tmp_path / "a.npz")


def test_damaged_bytes_are_refused_or_harmless(tmp_path, request):
    path, drawn = tmp_path / "a.npz", np.random.default_rng(0)
    optimizer = fo.Prodigy({"w": np.ones(30), "deep": {"b": np.ones(3, np.float32)}}, ema=0.5)
    optimizer.step({"w": np.ones(30), "deep": {"b": np.ones(3)}})
    optimizer.save(path, {"a": [np.arange(3), {"b": None}]})
    whole, before = np.fromfile(path, np.uint8), optimizer.fingerprint()
    refused = 0
    for _ in range(3000 if request.config.getoption("--full") else 300):
        bad = whole.copy()
        at = drawn.integers(len(bad), size=drawn.integers(1, 6))
        bad[at] = drawn.integers(256, size=at.size)
        bad = bad[: drawn.integers(len(bad))] if drawn.random() < 0.2 else bad
        bad.tofile(path)
        try:
            optimizer.load(path, hyperparameters="restore")
        except (ValueError, OSError):
            refused += 1
            assert optimizer.fingerprint() == before
        whole.tofile(path)
        optimizer.load(path, hyperparameters="restore")
    assert refused > 100


NUMBERS = [None, True, -1, 10**400, float("inf"), float("nan"), 2**63, -0.0, np.float32(2), "x", "", b"", "\ud800"]
NESTED = [[], {}, {"a": 1}, [[]], (1, 2), ["l2"], [[[[]]]], {1: 2}, {"schedule": 3}, {"schedule": "constant(1)"}]
VALUES = [*NUMBERS, *NESTED, np.ones(3), np.ma.ones(3), object(), print]  # that do not belong into a state


def mutated(state, drawn):
    """Return a state with one entry of any depth exchanged, lost or added."""
    state = dict(state) if isinstance(state, dict) else list(state)
    keys = list(state) if isinstance(state, dict) else list(range(len(state)))
    key = drawn.choice(keys) if keys else "new"
    if keys and isinstance(state[key], (dict, list)) and drawn.random() < 0.8:
        state[key] = mutated(state[key], drawn)
    elif isinstance(state, dict):
        way = drawn.random()
        if way < 0.2 and keys:
            del state[key]
        elif way < 0.3:
            state[drawn.choice(NUMBERS) if way < 0.22 else "other"] = drawn.choice(VALUES)
        else:
            state[key] = drawn.choice(VALUES)
    else:
        state = [drawn.choice(VALUES), *state[1:]] if drawn.random() < 0.6 else state[1:]
    return state


def test_malformed_states_are_refused_or_harmless(request):
    drawn = random.Random(0)
    optimizer = fo.Prodigy([{"params": {"w": np.ones(30)}}, {"params": {"b": np.ones(3)}, "lr": 0.5}], ema=0.5, weight_decay=0.1)
    optimizer.step([{"w": np.ones(30)}, {"b": np.ones(3)}])
    good = optimizer.state_dict()
    refused = 0
    for _ in range(20_000 if request.config.getoption("--full") else 2000):
        before = snapshot(optimizer)
        state = mutated(good, drawn) if drawn.random() < 0.95 else drawn.choice(VALUES)
        try:
            optimizer.load_state_dict(state, hyperparameters=drawn.choice([None, "keep", "restore", {"lr": "keep"}]))
        except ValueError:
            refused += 1
            assert snapshot(optimizer) == before
        optimizer.load_state_dict(good, hyperparameters="restore")
    assert refused > 500


def test_carried_numbers_of_files_are_checked(tmp_path):
    optimizer = fo.Prodigy(np.ones(3))
    optimizer.step(np.ones(3))
    state = optimizer.state_dict()
    for wrong in (-1.0, "x", None, 10**400):
        with pytest.raises(ValueError, match=r"d_max( of '0')?: .*, expected"):
            optimizer.load_state_dict({**state, "state": {"0": {**state["state"]["0"], "d_max": wrong}}})
    optimizer.load_state_dict(json.loads(json.dumps(state, default=lambda a: None)) | {"state": state["state"]})
    path = tmp_path / "a.npz"
    optimizer.save(path)
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("fastopt.json"))
    meta["state"]["0"]["d_max"] = math.nan
    with_members(path, {"fastopt.json": json.dumps(meta)})
    with pytest.raises(ValueError, match="state of '0': d_max: nan, expected 0 <= d_max"):
        optimizer.load(path)


@pytest.mark.parametrize("case", [case for case in CASES if make(case, np.ones((2, 2)))._parameters[0].rule.carry])
def test_a_run_that_diverged_is_saved_and_loaded(case, tmp_path):
    p = np.ones((2, 2))
    optimizer = make(case, p)
    for g in (1.0, np.nan, 1.0):
        optimizer.step(np.full((2, 2), g))
    optimizer.save(tmp_path / "a.npz")
    before = optimizer.fingerprint()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.load(tmp_path / "a.npz")
    assert optimizer.fingerprint() == before == copy.deepcopy(optimizer).fingerprint()


@pytest.mark.parametrize("missing", ["flock", "fchown", "fchmod", "folder"])
def test_file_systems_that_can_less(missing, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "a.npz"
    optimizer = saved(path)
    path.chmod(0o640)
    if missing != "flock":
        os.chown(path, -1, 12345) if os.getuid() == 0 else pytest.skip("needs root")

    def failing(*arguments):
        raise OSError(errno.EINVAL, "not here")

    if missing == "folder":
        monkeypatch.setattr(os, "fsync", lambda number: failing() if stat.S_ISDIR(os.fstat(number).st_mode) else None)
    else:
        monkeypatch.setattr(fcntl if missing == "flock" else os, missing, failing)
    optimizer.step({"w": np.ones(3)})
    optimizer.save(path)
    assert os.listdir(tmp_path) == ["a.npz"]
    found = path.stat()
    kept = (0o640, 12345) if missing == "folder" else (0o600, os.getgid() if missing == "fchown" else 12345)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == ((0o640, os.getgid()) if missing == "flock" else kept)
    monkeypatch.undo()
    fo.Adam({"w": np.ones(3)}, lr=0.1).load(path)


def test_what_cannot_be_loaded_is_not_saved(tmp_path):
    optimizer, path = saved(tmp_path / "a.npz"), tmp_path / "a.npz"
    before, itself = path.read_bytes(), {}
    itself["a"] = [itself]
    many = np.zeros(2, [(f"field{k}", "f8") for k in range(600)])
    for error, extra in [(ValueError, {"a": many}), (ValueError, itself), (TypeError, [1]), (TypeError, {"ndarray": 3})]:
        with pytest.raises(error, match="extra"):
            optimizer.save(path, extra)
    with pytest.raises(ValueError, match="names of 70006 characters"):
        fo.SGD({"x" * 70_000: np.ones(1)}).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.npz"]


def test_policies_by_name(tmp_path):
    def made(**options):
        return fo.Adam({"w": np.ones(3)}, **{"lr": lambda t: 0.1, **options})

    made().save(tmp_path / "a.npz")
    other = made(betas=(0.5, 0.6))
    with pytest.raises(ValueError, match="betas of group 0: saved"):
        other.load(tmp_path / "a.npz", hyperparameters={"lr": "keep"})
    other.load(tmp_path / "a.npz", hyperparameters={"lr": "keep", "betas": "restore"})
    assert other.groups[0]["betas"] == (0.9, 0.999) and callable(other.groups[0]["lr"])
    with pytest.raises(ValueError, match="no 'learning_rate', did you mean 'lr'"):
        other.load(tmp_path / "a.npz", hyperparameters={"learning_rate": "keep"})
    for wrong in ({"lr": "maybe"}, 3, ["keep"], {"lr": ["keep"]}):
        with pytest.raises(ValueError, match="expected None, 'keep' or 'restore', or a dict"):
            other.load(tmp_path / "a.npz", hyperparameters=wrong)


def test_modes_are_compared(tmp_path):
    saved(tmp_path / "a.npz", mode="exact")
    other = saved(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="mode: saved 'exact', here 'lazy'"):
        other.load(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="mode: saved 'exact', here 'lazy'; construct with it"):
        other.load(tmp_path / "a.npz", hyperparameters="restore")
    other.load(tmp_path / "a.npz", hyperparameters={"mode": "keep"})
