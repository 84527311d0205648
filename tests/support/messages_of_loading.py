"""Errors of loading in part, of options by names, of first values, and of arguments of rules without an optimizer."""

import numpy as np
import torch
from mistakes import adam, changed, w

import fastopt as fo
from fastopt import functional


def load(saved=None, optimizer=None, **choices):
    """Load a state into an optimizer of other parameters."""
    (optimizer or adam()).load_state_dict((saved or adam()).state_dict(), **choices)


def of_no_group():
    state = adam().state_dict()
    state["groups"][0]["parameters"] = ["v"]
    adam().load_state_dict(state)


def of_file(change):
    """Load a file whose parts were changed."""
    from fastopt._optimizer import loading

    optimizer = adam()
    state = optimizer.state_dict()
    params = {"w": w()}
    change(state, params)
    loading.load_state(optimizer, state, params, None, loading.WHOLE)


def of_other_names():
    of_file(lambda state, params: params.update(v=params.pop("w")))


def of_number():
    state = adam().state_dict()
    state["state"][5] = {}
    adam().load_state_dict(state)


def codes(optimizer, exponents):
    state = optimizer.state_dict()
    state["state"]["w"]["m_exponents"] = exponents
    optimizer.load_state_dict(state)


def in_bfloat16(x=1.0, master="split"):
    bits = (np.full(3, x, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return fo.SGD({"w": bits.view(fo.bfloat16)}, master=master)


def beyond():
    large = fo.SGD({"w": np.full(3, 3e38, np.float32)})
    large.save("large.npz")
    fo.SGD({"w": np.zeros(3, np.float16)}).load("large.npz", cast=True)


def gathering():
    first = fo.Adam({"w": w()}, accumulate=3)
    first.step({"w": w()})
    load(first, fo.Adam({"w": w(), "v": w()}, accumulate=3), only="w")


def tensor():
    return [torch.nn.Parameter(torch.ones(3))]


class Part:
    """As a DTensor looks."""

    __module__ = "torch.distributed.tensor"
    placements = ()

    def detach(self):
        return self

    to_local = detach


OF_LOADING = [
    (ValueError, ["state: 5, expected names of parameters"], of_number),
    (TypeError, ["parameter '0': a DTensor, of which this process has a part"], lambda: fo.Adam(Part())),
    (ValueError, ["only: [], expected some names or patterns"], lambda: load(only=[])),
    (KeyError, ["'v': no parameter, expected one of w"], lambda: adam().state["v"]),
    (
        TypeError,
        ["lr: constant(value=0.1), expected a number, such as schedule(t - 1)"],
        lambda: functional.sgd(w(), w(), t=1, lr=fo.schedules.constant(0.1)),
    ),
    (
        ValueError,
        ["state: no name here, 'v', is among the saved ones, 'w'; see load's rename"],
        lambda: load(None, fo.Adam({"v": w()}), missing="keep", unexpected="ignore"),
    ),
    (ValueError, ["rename: no parameter has the name 'W', did you mean 'w'?"], lambda: load(rename={"w": "W"})),
    (ValueError, ["rename: nothing was saved as 'w*', expected whole names, or a function"], lambda: load(rename={"w*": "w"})),
    (
        ValueError,
        ["lr: 'w*' comes after '*', which has all of its parameters; expected before it"],
        lambda: fo.Adam({"w1": w()}, lr={"*": 0.1, "w*": 0.2}),
    ),
    (
        ValueError,
        ["lr: differs within a group of which prodigy makes one estimate, expected groups"],
        lambda: fo.Prodigy({"a": w(), "b": w()}, lr={"a": 0.5}),
    ),
    (
        ValueError,
        ["decoupled_weight_decay: of another optimizer than Adam, expected fastopt.torch.AdamW"],
        lambda: fo.torch.Adam(tensor(), weight_decay=0.1, decoupled_weight_decay=True),
    ),
    (
        ValueError,
        ["state: missing ['v'], unexpected ['w']", "missing='keep' or 'reset'"],
        lambda: load(None, fo.Adam({"v": w()})),
    ),
    (ValueError, ["missing: 'skip', expected one of 'raise', 'keep', 'reset'"], lambda: load(missing="skip")),
    (TypeError, ["rename: 3, expected a dict of names by saved names, or a function"], lambda: load(rename=3)),
    (ValueError, ["rename: nothing was saved as 'W', did you mean 'w'?"], lambda: load(rename={"W": "w"})),
    (TypeError, ["rename: 1 for 'w', expected a name"], lambda: load(rename=len)),
    (
        ValueError,
        ["rename: 'v' and 'w' would both be 'w', expected one"],
        lambda: load(fo.Adam({"v": w(), "w": w()}), rename={"v": "w"}),
    ),
    (TypeError, ["only: 3, expected names or patterns of them"], lambda: load(only=3)),
    (ValueError, ["only: no parameter has the name 'v*', expected some of 'w'"], lambda: load(only="v*")),
    (ValueError, ["state of 'w': in none of the saved groups"], of_no_group),
    (ValueError, ["state 'm' of 'w': list, expected a NumPy array"], lambda: changed(["state", "w"], m=[1.0])),
    (ValueError, ["state 'm' of 'w': shape (2,), expected (3,)"], lambda: changed(["state", "w"], m=np.ones(2))),
    (
        ValueError,
        ["parameters of the file: ['v'], expected those of its state: ['w']"],
        of_other_names,
    ),
    (
        ValueError,
        ["state 'm_exponents' of 'w': shape (2,), expected (1,)"],
        lambda: codes(fo.Adam({"w": np.ones(3, np.float32)}, state_dtype="float8"), np.zeros(2, np.int16)),
    ),
    (ValueError, ["'w': has gathered 1 gradients, others 0; load between steps"], gathering),
    (ValueError, ["parameter 'w': numbers beyond the range of its dtype"], beyond),
    (
        ValueError,
        ["parameter 'w': the saved 'master' is the low bits of a parameter that is not in this state"],
        lambda: load(in_bfloat16(), fo.SGD({"w": np.ones(3, np.float32)}), cast=True),
    ),
    (
        ValueError,
        ["parameter 'w': the saved 'master' is of another parameter, expected a file"],
        lambda: load(in_bfloat16(2.0, "float32"), in_bfloat16(), cast=True),
    ),
    (
        ValueError,
        ["lr: no parameter has the name 'v', expected some of 'w'"],
        lambda: fo.Adam({"w": w()}, lr={"v": 0}),
    ),
    (TypeError, ["initial_state: 1, expected a dict of first values by name"], lambda: fo.Adam(w(), initial_state=1)),
    (ValueError, ["initial_state: no 'x', expected one of step, m, v"], lambda: fo.Adam(w(), initial_state={"x": 1})),
    (
        ValueError,
        ["initial_state, product of '0': an array, expected a number"],
        lambda: fo.NAdam(w(), initial_state={"product": w()}),
    ),
    (
        ValueError,
        ["initial_state, v of '0': -1.0 to -1.0, expected numbers of at least 0"],
        lambda: fo.Adam(w(), initial_state={"v": -1}),
    ),
    (TypeError, ["p: a list of bool, expected numbers"], lambda: functional.sgd([True], w(1), t=1)),
    (ValueError, ["p: lists of different lengths, expected an array"], lambda: functional.sgd([[1.0], [1.0, 2.0]], w(), t=1)),
    (TypeError, ["out: str, expected None, 'inplace' or (p,)"], lambda: functional.sgd(w(), w(), t=1, out="here")),
    (TypeError, ["lr: a dict of values by name, expected groups"], lambda: fo.torch.Adam(tensor(), lr={"0": 0.1})),
    (TypeError, ["Optimizer: a base class, expected a class such as fastopt.torch.Adam"], lambda: fo.torch.Optimizer(tensor())),
    (TypeError, ["Adam: an argument is given twice, or there are too many"], lambda: fo.torch.Adam(tensor(), 0.1, lr=0.1)),
    (
        ValueError,
        ["capturable: records steps in a CUDA graph"],
        lambda: fo.torch.Adam(tensor(), capturable=True),
    ),
]
