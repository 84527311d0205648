"""Spans of packed parameters: the bits of all, in any order and however they are cut; sums, files and refusals."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
from cases import ADAFACTOR, CASES, MUON
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo
from fastopt._arrays import dtypes
from fastopt._engine import sums
from fastopt._engine.sums import Total

SHAPES = {"w": (300, 3), "b": (7,), "v": (1600,), "c": (5, 2)}
PER_ARRAY = {*ADAFACTOR, *MUON, "lamb", "lars"}  # Rules that need arrays whole.
STORAGE = {
    "float32": {},
    "bfloat16": {"state_dtype": "bfloat16"},
    "float8": {"state_dtype": "float8"},
    "split": {"master": "split"},
}
OPTIONS = {
    "none": {},
    "clip": {"clip_global_norm": 0.5},
    "skip": {"nonfinite": "skip"},
    "clip and skip": {"clip_global_norm": 0.5, "nonfinite": "skip", "accumulate": 2},
    "ema": {"ema": 0.9},
    "bounds": {"bounds": ({"w": np.linspace(-2, -1, 900).reshape(300, 3), "*": -3.0}, 2.5)},
}


def tree(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    found = {name: np.clip(rng.standard_normal(shape), -1, 1).astype(np.float32) for name, shape in SHAPES.items()}
    if dtype == fo.bfloat16:
        return {name: dtypes.narrowed(a, dtypes.BFLOAT16).reshape(a.shape).view(dtype) for name, a in found.items()}
    return found


def gradients(t, dtype=np.float32):
    grads = tree(100 + t, dtype)
    if t == 2:
        grads["v"][700] = 0x7F80 if dtype == fo.bfloat16 else np.inf
    return grads


def same(a, b):
    """Return True for equal numbers, all NaNs being equal, and zeros of equal signs."""
    a, b = (np.asarray(dtypes.widened(x) if np.ndim(x) else x).reshape(-1) for x in (a, b))
    zeros = [np.signbit(x[x == 0]) for x in (a, b)]
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True) and np.array_equal(*zeros)


def run(cls, options, spans_of, steps=5, dtype=np.float32):
    """Step all, and spans in another order each time; compare parameters, state and counts, and return both."""
    every, cut = fo.pack(tree(0, dtype)), fo.pack(tree(0, dtype))
    whole = cls(every, **options)
    spans = spans_of(cut)
    parts = [cls(cut, span=span, **options) for span in spans]
    order = np.random.default_rng(3)
    for t in range(steps):
        grads = gradients(t, dtype)
        done = whole.step(grads)
        flat = cut.gather(grads)
        pieces = [cut.pieces(flat, span) for span in spans]
        combined = fo.combine([part.sums(g) for part, g in zip(parts, pieces, strict=True)])
        for k in order.permutation(len(parts)):
            assert parts[k].step(pieces[k], sums=combined) == done
    assert same(every.flat, cut.flat)
    covered = dict.fromkeys(SHAPES, 0)
    for part in parts:
        assert (part.steps, part.skipped) == (whole.steps, whole.skipped)
        for name, (start, stop) in part.spans.items():
            covered[name] += stop - start
            for key, x in part.state[name].items():
                theirs = whole.state[name][key]
                is_cut = np.ndim(x) and np.size(theirs) == np.size(whole.params[name])
                assert same(x, theirs.reshape(-1)[start:stop] if is_cut else theirs), (name, key)
    assert covered == {name: np.prod(shape) for name, shape in SHAPES.items()}
    return whole, parts, cut


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("case", CASES)
def test_spans_have_the_bits_of_the_whole(case, option, storage, isa):
    cls, options = CASES[case]
    whole = case in PER_ARRAY or storage == "float8"
    if (whole and "clip" in option) or (case.startswith(("dog", "prodigy")) and (whole or "clip" in option)):
        pytest.skip("sums over arrays need cuts at multiples of 256, which such arrays do not have, or two exchanges")
    if option in ("bounds", "ema") and case.startswith("schedule-free"):
        pytest.skip("refused by these")
    dtype = fo.bfloat16 if storage == "split" else np.float32
    run(cls, {**options, **OPTIONS[option], **STORAGE[storage]}, lambda packed: packed.cut(3, whole=whole), dtype=dtype)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 2517), max_size=6), even=st.booleans(), case=st.sampled_from(["adam", "momentum", "nadam"]))
def test_any_cuts(cuts, even, case):
    """Elementwise rules may be cut anywhere, sums at multiples of 256."""
    cls, options = CASES[case]
    places = [0, *sorted(place // 256 * 256 if even else place for place in cuts), 2517]
    spans = list(pairwise(places))
    options = {**options, "state_dtype": "bfloat16", **({"clip_global_norm": 0.1, "nonfinite": "skip"} if even else {})}
    run(cls, options, lambda packed: spans)


def test_sums_that_depend_on_others_come_from_a_function(isa):
    """The exchange of Prodigy's sums follows that of the norm: a function is called for each, and once before the first write."""
    import threading

    every, cut = fo.pack(tree(0)), fo.pack(tree(0))
    options = {"clip_global_norm": 0.5, "nonfinite": "skip"}
    whole = fo.Prodigy(every, **options)
    spans = cut.cut(2)
    parts = [fo.Prodigy(cut, span=span, **options) for span in spans]
    barrier, given, calls = threading.Barrier(2), [b"", b""], []

    def work(k):
        def exchange(own):
            given[k] = own
            barrier.wait(20)
            found = fo.combine(given)
            barrier.wait(20)
            calls.append([label for label, _ in sums.messages_in(own)])
            return found

        for t in range(4):
            parts[k].step(cut.pieces(cut.gather(gradients(t)), spans[k]), sums=exchange)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for t in range(4):
        whole.step(gradients(t))
    assert np.array_equal(every.flat, cut.flat)
    assert calls[0] == ["finite in step 0"] and [""] in calls and ["prodigy in step 0"] in calls
    with pytest.raises(ValueError, match="a function gives those that depend on others"):
        parts[0].step(cut.pieces(cut.gather(gradients(1)), spans[0]), sums=b"")


@pytest.mark.parametrize("case", ["adam", "prodigy", "adafactor", "muon"])
def test_a_function_that_raises_changes_nothing(case, isa):
    cls, options = CASES[case]
    packed = fo.pack(tree(0))
    part = cls(packed, span=packed.cut(2, whole=True)[0] if case in PER_ARRAY else (0, 1024), **options)
    grads = packed.pieces(packed.gather(gradients(1)), part._settings.span)
    part.step(grads, sums=lambda own: own)
    before = part.fingerprint()
    for result in (RuntimeError("lost"), b"", b"nonsense", None):

        def exchange(own, result=result):
            if isinstance(result, Exception):
                raise result
            return result

        with pytest.raises((RuntimeError, ValueError)):
            part.step(grads, sums=exchange)
        assert part.fingerprint() == before
    part.sums(grads)
    assert part.fingerprint() == before and part.steps == 1
    assert part.step(grads, sums=lambda own: own)


def test_an_infinite_gradient_of_another_span(isa):
    packed = fo.pack(tree(0))
    spans = packed.cut(2)
    for policy in ("raise", "skip"):
        parts = [fo.SGD(packed, lr=0.1, span=span, nonfinite=policy) for span in spans]
        pieces = [packed.pieces(packed.gather(gradients(2)), span) for span in spans]
        combined = fo.combine(map(fo.SGD.sums, parts, pieces))
        before = packed.flat.copy()
        if policy == "raise":
            with pytest.raises(FloatingPointError, match="elements of another span are infinite or NaN"):
                parts[0].step(pieces[0], sums=combined)
            with pytest.raises(FloatingPointError, match="gradient of 'v': 1 element"):
                parts[1].step(pieces[1], sums=combined)
        else:
            assert [part.step(g, sums=combined) for part, g in zip(parts, pieces, strict=True)] == [False, False]
            assert [part.skipped for part in parts] == [1, 1]
        assert np.array_equal(before, packed.flat)


def test_spans_without_gradients(isa):
    """Spans count a step if any of them has a gradient; a rule with one estimate for all needs one in each."""

    def stepped(cls, grads, **options):
        packed = fo.pack({"w": np.ones(256), "b": np.ones(256)})
        parts = [cls(packed, span=span, **options) for span in packed.cut(2)]
        given = [{name: grads[name]} for name in ("w", "b")]
        combined = fo.combine(map(cls.sums, parts, given))
        try:
            return [part.step(g, sums=combined) for part, g in zip(parts, given, strict=True)], [part.steps for part in parts]
        finally:
            assert (packed.tree["w"] == 1).all() == (packed.tree["b"] == 1).all() or grads["b"] is None

    some = {"w": np.ones(256), "b": None}
    for options in ({}, {"clip_global_norm": 1.0}, {"nonfinite": "skip"}):
        assert stepped(fo.SGD, some, lr=0.1, **options) == ([True, True], [1, 1])
        assert stepped(fo.SGD, dict.fromkeys("wb"), lr=0.1, **options) == ([False, False], [0, 0])
    for cls in (fo.Prodigy, fo.DoG):
        with pytest.raises(ValueError, match="None for all of a span"):
            stepped(cls, some)
        assert stepped(cls, dict.fromkeys("wb")) == ([False, False], [0, 0])
        assert stepped(cls, {"w": np.ones(256), "b": np.ones(256)})[1] == [1, 1]
    packed = fo.pack({"w": np.ones(256)})
    part = fo.SGD(packed, lr=0.1, span=(0, 256))
    assert part.step({"w": None}) is False and part.steps == 0
    for cls, options in ((fo.SGD, {"clip_global_norm": 1.0}), (fo.SGD, {"nonfinite": "skip"}), (fo.Prodigy, {})):
        with pytest.raises(ValueError, match="sums: None for a span"):
            cls(packed, span=(0, 256), **{"lr": 0.1, **options}).step({"w": np.ones(256)})
    assert (packed.flat == 1).all()


@pytest.mark.parametrize("case", ["adam", "prodigy", "lamb", "muon", "adafactor"])
def test_empty_spans_and_arrays(case, isa, tmp_path):
    """An empty span has no parameters, and takes part in the sums; arrays without elements are in one span."""
    cls, options = CASES[case]
    options = {**options, **({} if case == "prodigy" else {"nonfinite": "skip"})}

    def made():
        return fo.pack(
            {"e": np.ones(0), "a": np.ones((16, 16)), "f": np.ones((0, 3)), "b": np.full((16, 16), 2.0), "z": np.ones((2, 0))}
        )

    packed, every = made(), made()
    spans = [(0, 0), (0, 256), (256, 256), (256, 512), (512, 512)]
    parts = [cls(packed, span=span, **options) for span in spans]
    assert [list(part.spans) for part in parts] == [[], ["e", "a"], [], ["f", "b", "z"], []]
    whole = cls(every, **options)
    for _ in range(3):
        grads = {name: np.cos(a) for name, a in every.tree.items()}
        flat = packed.gather(grads)
        pieces = [packed.pieces(flat, span) for span in spans]
        combined = fo.combine([part.sums(g) for part, g in zip(parts, pieces, strict=True)])
        assert [part.step(g, sums=combined) for part, g in zip(parts, pieces, strict=True)] == [True] * 5
        assert whole.step(grads)
    assert np.array_equal(packed.flat, every.flat) and [part.steps for part in parts] == [3] * 5
    whole.save(tmp_path / "whole.npz")
    for k, span in enumerate(spans):
        loaded = cls(made(), span=span, **options)
        loaded.load(tmp_path / "whole.npz")
        assert loaded.fingerprint() == parts[k].fingerprint() and loaded.steps == 3
        parts[k].save(tmp_path / f"{k}.npz")
        loaded.load(tmp_path / f"{k}.npz")
        assert pickle.loads(pickle.dumps(loaded)).spans == parts[k].spans
    with pytest.raises(ValueError, match="shape"):
        cls(fo.pack({"a": np.ones((32, 16)), "b": np.ones((16, 16))}), span=(0, 512), **options).load(tmp_path / "whole.npz")


def test_packed_bfloat16():
    """bfloat16 arrays are numbers, not the whole numbers that they are stored as."""
    ones = np.full(300, 0x3F80, np.uint16).view(fo.bfloat16)
    packed, wide = fo.pack({"w": ones}), fo.pack({"w": np.zeros(300, np.float32)})
    assert wide.gather({"w": ones}).tolist() == [1.0] * 300 and packed.gather({"w": ones}).tolist() == [0x3F80] * 300
    with pytest.raises(TypeError, match="expected what a writable array of bfloat16 can hold"):
        packed.gather({"w": np.ones(300, np.uint8)})
    with pytest.raises(TypeError, match="can hold"):
        packed.gather({"w": np.ones(300, np.float32)})


def test_combination_is_exact_and_without_order():
    rng = np.random.default_rng(0)
    totals = [sums.total([x], [0]) for x in rng.standard_normal(50) * 10.0 ** rng.integers(-300, 300, 50)]
    messages = [sums.message("norm in step 3", [total, total]) for total in totals]
    combined = {fo.combine(rng.permutation(np.array(messages, object)).tolist()) for _ in range(5)}
    assert len(combined) == 1
    ((label, found),) = sums.messages_in(combined.pop())
    assert label == "norm in step 3" and found == [sum(totals, Total())] * 2
    assert list(sums.messages_in(sums.message("", [Total(0, np.inf)]))) == [("", [Total(0, np.inf)])]
    special = fo.combine([sums.message("a", [Total(1, np.inf)]), sums.message("a", [Total(2, -np.inf)])])
    assert np.isnan(next(sums.messages_in(special))[1][0].special)
    cut_short = [messages[0][:k] for k in range(1, len(messages[0]))]
    for bad in ([], [messages[0], sums.message("norm in step 4", totals[:2])], [5], *([x] for x in cut_short)):
        with pytest.raises(ValueError, match="sums: "):
            fo.combine(bad)


def test_copies_and_files(tmp_path, isa):
    """A span goes on from its own file, from a file of all, and all from a file of all; a copy steps a private buffer."""
    options = {"lr": 0.01, "clip_global_norm": 0.5, "state_dtype": "bfloat16", "ema": 0.9, "nonfinite": "skip"}
    whole, parts, packed = run(fo.AdamW, options, lambda packed: packed.cut(2))
    whole.save(tmp_path / "whole.npz", {"epoch": 3})
    parts[1].save(tmp_path / "part.npz")
    for path, span in (("part.npz", (1280, 2517)), ("whole.npz", (1280, 2517)), ("whole.npz", (512, 2048))):
        other = fo.pack(tree(1))
        loaded = fo.AdamW(other, span=span, **options)
        loaded.load(tmp_path / path)
        place = other.slices(span)[other.flat.dtype]
        assert same(other.flat[place], packed.flat[place]) and loaded.steps == whole.steps
        for name, (start, stop) in loaded.spans.items():
            assert same(loaded.state[name]["m"], whole.state[name]["m"].reshape(-1)[start:stop])
    with pytest.raises(ValueError, match="another span"):
        fo.AdamW(fo.pack(tree(0)), span=(0, 1280), **options).load_state_dict(parts[1].state_dict())
    with pytest.raises(ValueError, match="was not saved"):
        fo.AdamW(fo.pack(tree(0)), span=(0, 1536), **options).load(tmp_path / "part.npz")
    for again in (copy.deepcopy(parts[1]), pickle.loads(pickle.dumps(parts[1]))):
        assert again.fingerprint() == parts[1].fingerprint() and again.spans == parts[1].spans
        before = packed.flat.copy()
        again.step(packed.pieces(packed.gather(gradients(1)), (1280, 2517)), sums=lambda own: own)
        assert same(packed.flat, before) and again.fingerprint() != parts[1].fingerprint()


def test_cuts():
    packed = fo.pack(tree(0))
    assert packed.size == 2517 and packed.cut(2) == [(0, 1280), (1280, 2517)]
    assert packed.cut(1) == [(0, 2517)]
    assert packed.cut(2, whole=["v"]) == [(0, 907), (907, 2517)]
    assert packed.cut(3, whole=True) == [(0, 900), (900, 907), (907, 2517)]
    many = packed.cut(20)
    assert many[0][0] == 0 and many[-1][1] == 2517 and all(a[1] == b[0] for a, b in pairwise(many))
    assert any(start == stop for start, stop in many)
    single = fo.pack(np.arange(600.0))
    opt = fo.SGD(single, lr=1.0, span=(256, 512))
    opt.step(single.pieces(np.ones(600), (256, 512)))
    opt.step(np.ones(256))
    assert np.array_equal(single.flat, np.arange(600.0) - 2 * ((np.arange(600) >= 256) & (np.arange(600) < 512)))


def test_several_dtypes_and_complex_numbers(isa):
    def made():
        return fo.pack({"a": np.ones(500, np.float32), "z": np.full(300, 1 + 2j, np.complex64), "d": np.arange(900.0)})

    every, cut = made(), made()
    whole = fo.Adam(every, lr=0.1, clip_global_norm=1.0)
    spans = cut.cut(4)
    parts = [fo.Adam(cut, lr=0.1, clip_global_norm=1.0, span=span) for span in spans]
    assert cut.size == 2000
    for k in range(3):
        grads = {"a": np.full(500, 0.1 * k, np.float32), "z": np.full(300, 1j + k, np.complex64), "d": np.cos(np.arange(900.0))}
        whole.step(grads)
        flat = cut.gather(grads)
        pieces = [cut.pieces(flat, span) for span in spans]
        of_span = [cut.pieces({d: flat[d][s] for d, s in cut.slices(span).items()}, span) for span in spans]
        assert all(np.array_equal(x[name], y[name]) for x, y in zip(pieces, of_span, strict=True) for name in x)
        combined = fo.combine(map(fo.Adam.sums, parts, pieces))
        assert all(part.step(g, sums=combined) for part, g in zip(parts, pieces, strict=True))
    assert all(np.array_equal(every.flat[d], cut.flat[d]) for d in every.flat)
    with pytest.raises(ValueError, match="cuts a complex number"):
        fo.SGD(cut, lr=0.1, span=(0, 501))
