"""Runs of tests by the interpreted backend, in another process."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
COMPILERS = ("test_cache", "test_custom", "test_interpreted", "test_interpreted_loops")


def check(folders, *options):
    """Run the tests of these folders, but for those of compilers; they must pass."""
    files = [f for folder in folders for f in sorted((TESTS / folder).glob("test_*.py")) if f.stem not in COMPILERS]
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, *files],
        env={**os.environ, "FASTOPT_ISA": "numpy"},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stdout
    assert " passed" in out.stdout
