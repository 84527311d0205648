"""Loops around optimizers pass their tests on the interpreted backend; in a file that runs at the same time as the other."""

import interpreted
import pytest


@pytest.mark.full
@pytest.mark.parametrize("folders", [["minimization", "training"], ["linear"]], ids=" ".join)
def test_the_same_tests_pass(folders):
    """Without the cross products."""
    interpreted.check(folders)
