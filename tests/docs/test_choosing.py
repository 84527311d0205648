"""The table of choosing.md is of the script's problems and methods, and what it says comes out again."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
choosing = pytest.importorskip("choosing")

ROW = r"^\| ([^|]*) \| ([^|]+) \| (\S+) \| ([^|]+) \| (\S+)(?: calls)? \|$"


def rows():
    """Yield problem, method, best rate and result of each row."""
    text = (DOCS / "choosing.md").read_text().split("<!-- table: choosing -->")[1].split("<!-- end -->")[0]
    problem = ""
    for head, method, rate, _, result in re.findall(ROW, text, re.MULTILINE):
        if method != "method":
            problem = head.strip() or problem
            yield problem, method, float(rate), float(result.replace(",", ""))


def test_the_table_is_of_the_script():
    found = list(rows())
    assert {problem for problem, *_ in found} == {*choosing.PROBLEMS} and {method for _, method, *_ in found} <= {*choosing.METHODS}
    assert len(found) >= 4 * len(choosing.PROBLEMS)


@pytest.mark.parametrize("problem", choosing.PROBLEMS)
def test_the_best_row_comes_out_again(problem):
    method, rate, result = next(row[1:] for row in rows() if row[0] == problem)
    lr = choosing.RATES[np.argmin(np.abs(choosing.RATES / rate - 1))]
    name, options = choosing.METHODS[method]
    assert choosing.PROBLEMS[problem][0](name, lr, options) == pytest.approx(result, rel=0.05)
