"""What users install: source distribution, wheel, a build in place by two processes, one without OpenMP, one without a compiler."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CHECK = """
import sys, numpy as np, fastopt as fo
from fastopt._engine import dispatch
assert fo.__file__.startswith(sys.argv[1]), fo.__file__
p = np.ones(100_000, np.float32)
fo.SGD(p, lr=0.5).step(np.ones(100_000, np.float32))
assert (p == 0.5).all()
fo.show_config()
"""

pytestmark = [
    pytest.mark.full,
    pytest.mark.compiled,
    pytest.mark.skipif(not (REPOSITORY / "setup.py").exists() or not shutil.which("cc"), reason="builds from the sources"),
]


def run(*command, cwd, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("FASTOPT_", "PYTHONPATH"))}
    out = subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=600)
    assert out.returncode == 0, out.stdout + out.stderr
    return out.stdout + out.stderr


def check(folder, cwd, **env):
    return run(sys.executable, "-W", "ignore", "-c", CHECK, str(folder), cwd=cwd, PYTHONPATH=str(folder), **env)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The source distribution of what git would ship, unpacked."""
    folder = tmp_path_factory.mktemp("package")
    kept = shutil.ignore_patterns(".[!c]*", "build", "dist", "*.egg-info", "*.so", "__pycache__")
    shutil.copytree(REPOSITORY, folder / "tree", ignore=kept)
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "-o", str(folder), cwd=folder / "tree")
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    return folder / archive.name.removesuffix(".tar.gz")


def test_a_wheel_from_the_source_distribution(sources, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(sources, tree)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "-o", str(tmp_path), cwd=tree)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name.removeprefix("fastopt/") for name in file.namelist()}
        file.extractall(tmp_path / "installed")
    assert {"py.typed", "_engine/passes.pyi", "_engine/table.pxd", "_engine/encoding.pxd", "include/scalar.h"} <= names
    assert {
        "__init__.pxd",
        "embed/interface.pxd",
        "include/fastopt.h",
        "include/library.h",
        "cuda/generated/kernels.cu",
        "cuda/launch.h",
    } <= names
    assert not [name for name in names if name.endswith((".c", ".cpp", ".pyx"))]
    assert sum(name.endswith((".so", ".pyd")) for name in names) >= 2
    assert "fastopt: " in check(tmp_path / "installed", tmp_path)
    run(sys.executable, "-m", "fastopt", cwd=tmp_path, PYTHONPATH=str(tmp_path / "installed"))


def test_in_place_by_two_processes_without_openmp(sources, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(sources, tree)
    text = run(sys.executable, "setup.py", "build_ext", "--inplace", "-j2", cwd=tree, FASTOPT_NO_OPENMP="1")
    assert "building without OpenMP" in text
    told = check(tree, tmp_path)
    assert "openmp:          no" in told and "threads:         1" in told
    run(sys.executable, "setup.py", "build_ext", "--inplace", cwd=tree)
    assert "openmp:          yes" in check(tree, tmp_path), "what the build was told is not forgotten"


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="a checkout")
def test_the_source_distribution_has_every_file(sources):
    listed = set(run("git", "ls-files", cwd=REPOSITORY).split())
    assert {name for name in listed if not (sources / name).exists()} <= {".gitattributes", ".gitignore"}
    assert not [path for path in sources.rglob("*") if path.suffix in (".so", ".pyc")]


def test_without_a_compiler(sources, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(sources, tree)
    run(sys.executable, "setup.py", "build_ext", "--inplace", cwd=tree, CC="false")
    assert not list(tree.rglob("*.so"))
    assert "interpreted" in check(tree, tmp_path)
