"""Exact resume, strict loading, files."""

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from cases import CASES, data, make, snapshot

import fastopt as fo


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
    "missing \\['v'\\]; see load's missing='keep' or 'reset', rename": lambda: fo.Adam({"w": np.ones(3), "v": np.ones(3)}, lr=0.1),
    "parameter 'w': shape \\(3,\\), expected \\(4,\\)": lambda: fo.Adam({"w": np.ones(4)}, lr=0.1),
    "parameter 'w': dtype float64, expected float32": lambda: fo.Adam({"w": np.ones(3, np.float32)}, lr=0.1),
    "of rule adam, expected amsgrad": lambda: fo.Adam({"w": np.ones(3)}, lr=0.1, amsgrad=True),
    "of Adam, expected AdamW": lambda: fo.AdamW({"w": np.ones(3)}, lr=0.1, weight_decay=0),
    "lr of group 0: saved 0.1, here 0.2": lambda: fo.Adam({"w": np.ones(3)}, lr=0.2),
    "betas of group 0": lambda: fo.Adam({"w": np.ones(3)}, lr=0.1, betas=(0.9, 0.99)),
    "maximize of group 0": lambda: fo.Adam({"w": np.ones(3)}, lr=0.1, maximize=True),
    r"lr of group 0: saved 0.1, here constant\(value=0.1\)": lambda: fo.Adam({"w": np.ones(3)}, lr=fo.schedules.constant(0.1)),
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
    with pytest.raises(ValueError, match=r"lr of group 0: saved .* say hyperparameters={'lr': 'keep'}"):
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


def test_seed_and_settings_of_a_state_are_checked():
    state = fo.Adam(np.ones(2)).state_dict()
    with pytest.raises(ValueError, match="seed: saved 0, here 3"):
        fo.Adam(np.ones(2), seed=3).load_state_dict({k: x for k, x in state.items() if k != "seed"})
    with pytest.raises(ValueError, match="settings"):
        fo.Adam(np.ones(2)).load_state_dict({**state, "settings": 3})


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
