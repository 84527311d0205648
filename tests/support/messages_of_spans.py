"""Errors of packed parameters, their spans, and files in parts."""

import json
from pathlib import Path

import numpy as np

import fastopt as fo
from fastopt._optimizer import resharding
from fastopt._optimizer.resharding import MANIFEST, digest_of


def packed(**arrays):
    return fo.pack(arrays or {"w": np.ones((40, 20), np.float32), "b": np.ones(5, np.float32)})


def adam(span=None, of=None, **options):
    return fo.Adam(of or packed(), lr=0.1, span=span, **options)


def saved(path, span=None, change=None, **options):
    """Save a span after a step, and change its file if asked."""
    part = adam(span, **options)
    part.step({name: np.ones(a.shape, a.dtype) for name, a in part.params.items()})
    if change is not None:
        for parameter in part.state.values():
            parameter.update(change)
    part.save(path)
    return path


def folder(*files, format=1, digest=None):
    """Write a manifest of files and their spans, and load it."""
    entries = [{"file": str(path), "pieces": adam(span).spans, "sha256": digest or digest_of(Path(path))} for path, span in files]
    Path(MANIFEST).write_text(json.dumps({"format": format, "files": entries}))
    adam().load(".")


def of_different_steps():
    first, second = saved("a.npz", (0, 256)), saved("b.npz", (256, 805))
    part = adam((256, 805))
    part.load(second)
    part.steps = 7
    part.save(second)
    folder((first, (0, 256)), (second, (256, 805)))


def of_uneven_parts():
    first, second = saved("a.npz", (0, 256)), saved("b.npz", (256, 805), {"step": 3})
    folder((first, (0, 256)), (second, (256, 805)))


def with_a_gap():
    folder((saved("a.npz", (0, 256)), (0, 256)))


def of_a_format():
    folder((saved("a.npz"), (0, 805)), format=9)


def damaged():
    folder((saved("a.npz"), (0, 805)), digest="0")


def without_manifest():
    Path("empty").mkdir(exist_ok=True)
    adam().load("empty")


def of_blocks():
    entry = {"": np.ones(800, np.float32), "m": np.zeros(800, np.uint8), "m_exponents": np.zeros(4, np.int16), "step": 1}
    resharding.join("w", [((0, 800), entry)], (0, 100), (800,))


def of_factors():
    resharding.join("w", [((0, 800), {"": np.ones(800), "row": np.ones(40), "step": 1})], (0, 256), (40, 20))


def of_another_shape():
    adam().save("a.npz")
    adam((0, 256), packed(w=np.ones((20, 40), np.float32), b=np.ones(5, np.float32))).load("a.npz")


def renamed():
    adam((0, 256)).load(saved("a.npz"), rename={"w": "v"})


def of_complex_numbers():
    packed(z=np.ones(300, np.complex64)).pieces_of((0, 257))


def of_another_length():
    packed().pieces(np.ones(7), (0, 256))


def of_another_span():
    adam((0, 256)).load_state_dict(adam((256, 512)).state_dict())


OF_SPANS = [
    (ValueError, ["parts of different steps"], of_different_steps),
    (ValueError, ["'w'", "its parts are of different steps"], of_uneven_parts),
    (ValueError, ["'w'", "element 256 was not saved"], with_a_gap),
    (ValueError, [MANIFEST, "of format 9, expected 1"], of_a_format),
    (ValueError, ["a.npz", "not the file that manifest.json names, or damaged"], damaged),
    (ValueError, ["expected a file of save, or a folder with a manifest.json"], without_manifest),
    (ValueError, ["'m_exponents' of 'w'", "cut within a block of 256"], of_blocks),
    (ValueError, ["'row' of 'w'", "40 numbers for 800 elements, which cannot be cut"], of_factors),
    (ValueError, ["'w'", "shape (40, 20), expected (20, 40)"], of_another_shape),
    (ValueError, ["rename", "of a span", "expected None"], renamed),
    (ValueError, ["state", "of another span", "256 to 512 of 'w'", "0 to 256 of 'w'"], of_another_span),
    (TypeError, ["span", "ndarray", "fastopt.pack(params)"], lambda: fo.Adam(np.ones(3), span=(0, 1))),
    (ValueError, ["span", "mode='exact'"], lambda: adam((0, 256), mode="exact")),
    (
        ValueError,
        ["span", "(0, 300)", "multiples of 256 for clip_global_norm, not 300"],
        lambda: adam((0, 300), clip_global_norm=1.0),
    ),
    (ValueError, ["span", "cuts 'w'", "clip_norm needs whole", "whole=True"], lambda: adam((0, 256), clip_norm=1.0)),
    (ValueError, ["span", "cuts a block of 256 elements of 'w' in float8"], lambda: adam((0, 300), state_dtype="float8")),
    (ValueError, ["span", "(0, 900)", "between 0 and 805"], lambda: adam((0, 900))),
    (ValueError, ["span", "7", "2 whole numbers of at least 0"], lambda: adam(7)),
    (ValueError, ["span", "cuts a complex number of 'z'"], of_complex_numbers),
    (ValueError, ["parts", "0", "at least 1"], lambda: packed().cut(0)),
    (TypeError, ["whole", "'w'", "a list of names"], lambda: packed().cut(2, whole="w")),
    (ValueError, ["whole", "'v'", "names among w, b"], lambda: packed().cut(2, whole=["v"])),
    (ValueError, ["x", "(7,)", "(805,)", "(256,)"], of_another_length),
    (ValueError, ["sums", "none"], lambda: fo.combine([])),
]
