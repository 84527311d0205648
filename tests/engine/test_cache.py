"""Compiled rules of users: the cache folder, damaged and foreign files, failing compilers, other processes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import custom_rules
import pytest
from custom_rules import again

import fastopt as fo
from fastopt._engine import cache

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "own"))


PROGRAM = """
import sys, warnings
sys.path.insert(0, {folder!r})
import numpy as np, fastopt as fo
from custom_rules import again
fo.compile(again)
w = np.ones(3)
fo.optimizer(again, w).step(np.ones(3))
print(repr(again), w[0])
"""


@pytest.mark.compiled
@pytest.mark.full
@needs_compiler
def test_two_processes_at_once_and_the_cache(tmp_path):
    folder = str(Path(custom_rules.__file__).parent)
    environment = {**os.environ, "FASTOPT_CACHE_DIR": str(tmp_path / "cache")}
    program = [sys.executable, "-c", PROGRAM.format(folder=folder)]
    both = [subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    out = [process.communicate()[0] for process in both]
    assert out[0] == out[1] and "compiled> 0.999" in out[0] and [process.returncode for process in both] == [0, 0]
    built, digest = sorted((tmp_path / "cache").iterdir())
    assert (
        digest.name == f"{built.name}.sha256"
        and built.stat().st_mode & 0o077 == 0
        and (tmp_path / "cache").stat().st_mode & 0o077 == 0
    )
    before = built.stat().st_ino
    assert subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout == out[0]
    assert built.stat().st_ino == before
    (tmp_path / "cache").chmod(0o777)
    assert subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout == out[0]
    assert built.stat().st_ino == before and len(list((tmp_path / "cache").iterdir())) == 2, "a folder of everybody's is not used"


def test_a_folder_that_others_can_write_to_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "cache"))
    assert cache.folder() == tmp_path / "cache" and (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    (tmp_path / "cache").chmod(0o770)
    with pytest.warns(RuntimeWarning, match="FASTOPT_CACHE_DIR: .*cache, expected a folder that its owner alone may write to"):
        assert cache.folder() is None
    with pytest.warns(RuntimeWarning):
        assert cache.cached("name", lambda: b"made") == b"made" and not (tmp_path / "cache" / "name").exists()
    monkeypatch.setenv("FASTOPT_CACHE_DIR", "/proc/nowhere")
    with pytest.warns(RuntimeWarning):
        assert cache.folder() is None


def damaged(path, how):
    """Damage a file of the cache."""
    if how == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "changed":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "digest":
        cache.checksum_file(path).unlink()
    elif how == "mode":
        path.chmod(0o666)
    elif how == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to(path.with_name("elsewhere"))
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)


@pytest.mark.parametrize("how", ["cut", "empty", "changed", "digest", "mode", "link", "folder", "pipe"])
def test_a_file_of_the_cache_that_does_not_verify_is_made_again(tmp_path, monkeypatch, how):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "cache"))
    made = []

    def make():
        made.append(len(made))
        return bytes(5000)

    path = tmp_path / "cache" / "name"
    assert cache.cached("name", make) == cache.cached("name", make) == bytes(5000) and made == [0]
    damaged(path, how)
    assert cache.cached("name", make) == bytes(5000) and made == [0, 1]
    assert path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    assert cache.cached("name", make) == bytes(5000) and made == [0, 1]


@pytest.mark.compiled
@pytest.mark.full
@needs_compiler
@pytest.mark.parametrize("how", ["cut", "changed"])
def test_a_damaged_kernel_is_compiled_again(tmp_path, how):
    environment = {**os.environ, "FASTOPT_CACHE_DIR": str(tmp_path / "cache")}
    program = [sys.executable, "-c", PROGRAM.format(folder=str(Path(custom_rules.__file__).parent))]
    before = subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout
    (built,) = (path for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".sha256"))
    damaged(built, how)
    assert subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout == before
    assert cache.verified(built) is not None


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="root can make files of others")
def test_what_others_own_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "cache"))
    cache.cached("name", lambda: b"right")
    os.chown(tmp_path / "cache" / "name", 12345, 12345)
    assert cache.cached("name", lambda: b"new") == b"new"
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    (tmp_path / "theirs" / "link").symlink_to(tmp_path / "cache")
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    for place in ("link", "theirs/link"):
        monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / place))
        with pytest.warns(RuntimeWarning, match="expected a folder that its owner alone may write to"):
            assert cache.folder() is None, place
    (tmp_path / "own").symlink_to(tmp_path / "cache")
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path / "own"))
    assert cache.folder() == tmp_path / "own"


def test_the_cache_is_pruned(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "MAX_BYTES", 2500)
    for k in range(5):
        cache.cached(f"{k}", lambda: bytes(1000))
        os.utime(tmp_path / f"{k}", (1e9 + k, 1e9 + k)) if k == 0 else None
    (tmp_path / ".new-left").write_bytes(b"killed")
    (tmp_path / "tmpleft").mkdir()
    for name in (".new-left", "tmpleft"):
        os.utime(tmp_path / name, (1e9, 1e9))
    cache.cached("last", lambda: bytes(1000))
    left = {path.name for path in tmp_path.iterdir()}
    assert "last" in left and "0" not in left and "0.sha256" not in left and not left & {".new-left", "tmpleft"}
    assert len(left) == 6  # three files with their digests: what is kept, and as many as are not too much


@pytest.mark.compiled
@needs_compiler
def test_a_compiler_that_fails_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    monkeypatch.setattr(again.formula, "capsule", None)
    with pytest.raises(RuntimeError, match="compile: the compiler failed"):
        fo.compile(again)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "Cython", None)
    with pytest.raises(ImportError, match=re.escape("compile needs Cython and setuptools: pip install 'fastopt[compile]'")):
        fo.compile(again)
    with pytest.raises(TypeError, match=r"expected what fastopt.rule makes"):
        fo.compile(again.function)
