"""The messages of the page are those that users see."""

import re
from pathlib import Path

import numpy as np
import pytest

import fastopt as fo

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text().partition("| what happens |")[0]
MESSAGES = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)
# Messages that other tests see.
ELSEWHERE = ["minimize needs SciPy", "fastopt runs interpreted", "coefficients: huge", "loss: nan in epoch 1"]


def read_only(a):
    a.flags.writeable = False
    return a


def made(**options):
    return fo.Adam(np.zeros(3), **options)


def saved(path):
    made().save(path / "run.npz")
    return path / "run.npz"


def set_option(name, value):
    made().groups[0][name] = value


def step_with_itself():
    w = np.zeros(3)
    fo.Adam(w).step(w)


def fit_again(path):
    w = np.zeros(3)
    fo.training.fit(lambda w, x: (0.0, w + 0), w, np.ones((2, 3)), fo.Adam(w), checkpoint=saved(path))


def loaded(theirs, mine, lr=0.1):
    """Load an optimizer's state into one of other parameters."""
    fo.Adam(mine, lr=lr).load_state_dict(fo.Adam(theirs, lr=0.1).state_dict())


def two_views():
    w = np.zeros(3)
    fo.Adam([w, w[1:]])


CALLS = [
    lambda _: fo.Adam([1.0]),
    lambda _: fo.Adam(np.array([1, 2])),
    lambda _: fo.Adam(read_only(np.zeros(3))),
    lambda _: two_views(),
    lambda _: made().step(np.zeros((3, 1))),
    lambda _: step_with_itself(),
    lambda _: made().step([np.zeros(3)] * 2),
    lambda _: fo.Adam({"w": np.zeros(3)}).step({"v": np.zeros(3)}),
    lambda _: made(learning_rate=0.1),
    lambda _: set_option("amsgrad", True),
    lambda _: setattr(made(), "betas", (0.9, 0.99)),
    fit_again,
    lambda path: fo.SGD(np.zeros(3)).load(saved(path)),
    lambda _: loaded({"top/w": np.zeros(3)}, {"head/w": np.zeros(3)}),
    lambda _: loaded({"w": np.zeros(3)}, {"w": np.zeros(3, np.float32)}),
    lambda _: loaded({"w": np.zeros(3)}, {"w": np.zeros(3)}, lr=0.2),
    lambda _: fo.Adam({"w": np.zeros(3)}, weight_decay={"*/bias": 0.0}),
]


@pytest.mark.parametrize(("message", "call"), list(zip(MESSAGES, CALLS, strict=False)))
def test_messages(message, call, tmp_path):
    with pytest.raises((TypeError, ValueError, AttributeError, FileExistsError), match=re.escape(message)):
        call(tmp_path)


def test_all_messages_are_tested():
    assert len(MESSAGES) == len(CALLS) + len(ELSEWHERE)
    assert all(said.startswith(known) for said, known in zip(MESSAGES[len(CALLS) :], ELSEWHERE, strict=True))
