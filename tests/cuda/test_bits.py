"""Steps of CuPy arrays have the bits of the CPU: rules, stages, formats, layouts, rows."""

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
import standin
from cases import CASES, MUON, STAGE_OPTIONS, data, make, same
from cuda_tools import check_same, need_nvrtc, run, start, there

import fastopt as fo
from fastopt.cuda import compiler

DTYPES = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "complex64": np.complex64,
}
OPTIONS = {"none": {}, **STAGE_OPTIONS, "skip": {"nonfinite": "skip"}, "norms": {"norms": True}}
ALL = {
    "clip_value": 2.0, "clip_norm": 10.0, "clip_global_norm": 20.0, "max_step": 0.05, "step_scale": 0.5, "bounds": (-1.5, 1.5),
    "ema": 0.9, "norms": True, "nonfinite": "zero",
}  # fmt: skip


@pytest.mark.parametrize(
    "clips", [("clip_norm", "clip_global_norm"), ("clip_value", "clip_norm"), ("clip_value", "clip_global_norm")]
)
def test_a_limit_beyond_floats_changes_no_norm_before_it(cupy, clips):
    options = {"lr": 1.0, clips[0]: 1.0, clips[1]: 1e39}
    p, q, g = np.zeros(2, np.float32), cupy.array(np.zeros(2, np.float32)), np.full(2, 1e39)
    fo.SGD(p, **options).step(g)
    fo.SGD(q, **options).step(cupy.array(g))
    assert same(p, q.get()) and (np.abs(p) > 0.7).all()


@pytest.mark.parametrize("flush", [False, True])
def test_subnormals_are_flushed_where_it_was_asked_for(flush):
    need_nvrtc("compute_80")
    text = compiler.compiled(compiler.source("adam"), "compute_80", flush)
    assert (b"mul.rn.ftz.f32" in text) == flush and (b"mul.rn.f32" in text) != flush


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [case for case in CASES if case not in MUON])
def test_every_rule_has_the_same_bits(case, dtype, cupy):
    run(cupy, case, DTYPES[dtype])


@pytest.mark.parametrize("case", sorted(MUON))
def test_muon_differs_by_the_products_of_matrices(case, cupy):
    host = start(shapes={"matrix": (30, 41), "tall": (50, 20)})
    on_device = there(cupy, host)
    cpu, gpu = make(case, host), make(case, on_device)
    for k in range(3):
        grads = start(shapes={"matrix": (30, 41), "tall": (50, 20)}, seed=k + 20)
        cpu.step(grads)
        gpu.step(there(cupy, grads))
    for name, a in host.items():
        np.testing.assert_allclose(on_device[name].get(), a, rtol=2e-4, atol=2e-5)  # in float32, five times
        assert not np.array_equal(a, start(shapes={name: a.shape})[name])
    assert np.array_equal(gpu.state["matrix"]["buf"].get(), cpu.state["matrix"]["buf"])


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("case", ["momentum", "adamw", "adam-options", "lion", "nadam"])
def test_every_stage_has_the_same_bits(case, option, cupy):
    run(cupy, case, **OPTIONS[option])


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [c for c in CASES if c not in MUON and not c.startswith("schedule-free")])
def test_all_stages_together(case, dtype, cupy):
    run(cupy, case, DTYPES[dtype], **(ALL | ({} if "adafactor" in case else {"accumulate": 1})))


@pytest.mark.full
@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16", "float16", "float8"])
@pytest.mark.parametrize("case", [c for c in CASES if c not in MUON and "-" not in c])
def test_every_format_of_state(case, state_dtype, rounding, cupy):
    run(cupy, case, state_dtype=state_dtype, rounding=rounding)


@pytest.mark.parametrize(
    ("dtype", "master"), [("float16", None), ("bfloat16", None), ("bfloat16", "float32"), ("bfloat16", "split")]
)
@pytest.mark.parametrize("state_dtype", [None, "float8", "bfloat16"])
def test_parameters_of_16_bits(dtype, master, state_dtype, cupy):
    run(cupy, "adamw", DTYPES[dtype], master=master, state_dtype=state_dtype, clip_global_norm=1.0, ema=0.9)


@pytest.mark.parametrize("of_gradient", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_gradients_of_other_dtypes(dtype, of_gradient, cupy):
    run(cupy, "adam", DTYPES[dtype], of_gradient=DTYPES[of_gradient])


@pytest.mark.full
@pytest.mark.parametrize("convention", ["keras", "optax"])
@pytest.mark.parametrize("cls", [fo.Adam, fo.SGD, fo.RMSprop, fo.Adagrad])
def test_conventions(cls, convention, cupy):
    host = start()
    on_device = there(cupy, host)
    options = {"convention": convention, "weight_decay": 0.01} | ({"momentum": 0.9} if cls in (fo.SGD, fo.RMSprop) else {})
    cpu, gpu = cls(host, **options), cls(on_device, **options)
    for k in range(3):
        grads = start(seed=k + 90)
        cpu.step(grads)
        gpu.step(there(cupy, grads))
    check_same(cpu, gpu, host, on_device)


def test_complex(cupy):
    run(cupy, "adam", np.complex64, clip_norm=1.0)
    run(cupy, "rmsprop-centered-momentum", np.complex64)


def test_special_values(cupy):
    tiny, big = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, 1e-40, big, -big, 1.0], np.float32)
    p, g = (a.ravel() for a in np.meshgrid(values, values))
    for case in ("adam", "lion", "rprop", "yogi", "ftrl", "adamax"):
        for state_dtype in ("float32", "float8", "float16"):
            host, on_device = p.copy(), cupy.array(p)
            cpu, gpu = make(case, host, state_dtype=state_dtype), make(case, on_device, state_dtype=state_dtype)
            for _ in range(3):
                cpu.step(g)
                gpu.step(cupy.array(g))
                assert same(host, on_device.get())


LAYOUTS = {
    "Fortran": lambda a: a.T,
    "slice": lambda a: a[::2, 1::3],
    "negative": lambda a: a[::-1],
    "column": lambda a: a[:, 2:9],
    "permuted": lambda a: a.reshape(20, 4, 10).transpose(1, 2, 0),
}


@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_parameter", LAYOUTS)
def test_layouts(of_parameter, of_gradient, cupy):
    """Parameters are updated where they lie, and what is between their elements stays."""
    base, of_g = data(800, np.float32, 1).reshape(20, 40), data(4000, np.float32, 2)
    host, on_device = base.copy(), cupy.array(base)
    p, q = LAYOUTS[of_parameter](host), LAYOUTS[of_parameter](on_device)
    g = of_g[: p.size].reshape(p.shape)
    strided = np.asfortranarray(g) if of_gradient == "Fortran" else g
    given = cupy.array(strided)
    if of_gradient == "negative":
        given = cupy.array(np.ascontiguousarray(g[::-1]))[::-1]
    for state_dtype in ("float32", "bfloat16"):
        cpu, gpu = fo.Adam(p, lr=0.1, state_dtype=state_dtype), fo.Adam(q, lr=0.1, state_dtype=state_dtype)
        for _ in range(2):
            cpu.step(strided)
            gpu.step(given)
        assert same(host, on_device.get())
        assert cpu.fingerprint() == gpu.fingerprint()
    assert not np.array_equal(host, base)


@pytest.mark.parametrize("case", ["adam", "prodigy", "adafactor", "lamb"])
def test_accumulate(case, cupy):
    host = start()
    on_device = there(cupy, host)
    options = {"accumulate": 3, "clip_global_norm": 1.0, "nonfinite": "skip"}
    cpu, gpu = make(case, host, **options), make(case, on_device, **options)
    for k in range(8):
        grads = start(seed=k + 30)
        if k % 3 == 2:
            grads["block"] = None
        if k == 4:
            grads["matrix"][0, 0] = np.nan
        given = {name: None if g is None else cupy.array(g) for name, g in grads.items()}
        assert cpu.step(grads) == gpu.step(given)
        check_same(cpu, gpu, host, on_device)
    assert cpu.steps == 2 and cpu.skipped == 1


STAGES_OF_ROWS = {"clip_global_norm": 0.5, "weight_decay": 0.1, "ema": 0.9}
ROWS = [  # of parameters and gradients, with options
    ("float32", "float32", {}),
    ("float32", "float64", STAGES_OF_ROWS),
    ("float64", "float16", STAGES_OF_ROWS),
    ("bfloat16", "bfloat16", {"state_dtype": "bfloat16"}),
    ("float16", "float32", {"state_dtype": "float16", **STAGES_OF_ROWS}),
]


def of_rows(cupy, shapes, counts, dtype, seed):
    """Gradients for both, some of them of so many rows, in any order, some twice."""
    rng = np.random.default_rng(seed)
    grads = start(dtype, shapes, seed + 80)
    given = there(cupy, grads)
    for name, count in counts.items():
        rows = rng.integers(0, shapes[name][0], count)
        values = rng.standard_normal((count, *shapes[name][1:])).astype(DTYPES[dtype])
        grads[name], given[name] = fo.RowGradient(rows, values), fo.RowGradient(rows, cupy.array(values))
    return grads, given


def both(cupy, case, dtype, shapes, **options):
    host = start(DTYPES[dtype], shapes)
    on_device = there(cupy, host)
    return make(case, host, **options), make(case, on_device, **options), host, on_device


@pytest.mark.parametrize(("dtype", "of_gradient", "options"), ROWS)
@pytest.mark.parametrize("case", ["adamw", "momentum", "lamb", "prodigy"])
def test_gradients_of_rows(case, dtype, of_gradient, options, cupy):
    """Their rows alone are updated, as on the CPU; of a row that comes twice both count."""
    shapes = {"table": (200, 7), "bias": (300,), "deep": (6, 2, 5)}
    cpu, gpu, host, on_device = both(cupy, case, dtype, shapes, **options)
    for counts in ({"table": 90, "deep": 5}, {"table": 9, "deep": 0}, {}, {"table": 150}):
        grads, given = of_rows(cupy, shapes, counts, of_gradient, len(counts))
        assert cpu.step(grads) and gpu.step(given)
    check_same(cpu, gpu, host, on_device)
    given["deep"] = fo.RowGradient(cupy.array([1]), given["deep"][:1])  # which rows may be told on the device
    assert gpu.step(given)


@pytest.mark.parametrize(("dtype", "of_gradient", "options"), ROWS)
@pytest.mark.parametrize("case", ["adamw", "momentum", "amsgrad"])
def test_gradients_of_rows_that_update_all(case, dtype, of_gradient, options, cupy):
    """With ``mode="exact"``, as the CPU once its rows have caught up; a device makes all steps at once."""
    shapes = {"table": (600, 3), "bias": (300,)}
    cpu, gpu, host, on_device = both(cupy, case, dtype, shapes, mode="exact", **options)
    for counts in ({"table": 150}, {"table": 9}, {}, {"table": 0}):
        grads, given = of_rows(cupy, shapes, counts, of_gradient, len(counts))
        assert cpu.step(grads) and gpu.step(given)
    gpu.catch_up(), cpu.catch_up()
    check_same(cpu, gpu, host, on_device)
    with pytest.raises(ValueError, match="sums over all rows and cannot be combined with mode='exact', expected mode='lazy'"):
        fo.LAMB(on_device, mode="exact").step(given)


@pytest.mark.parametrize("mode", ["lazy", "exact"])
def test_sparse_matrices(mode, cupy):
    host = np.ones((50, 4), np.float32)
    on_device = cupy.array(host)
    cpu, gpu = fo.Adam(host, mode=mode), fo.Adam(on_device, mode=mode)
    for k in range(3):
        matrix = scipy.sparse.random(50, 4, 0.1, format="csr", dtype=np.float32, random_state=k)
        if cupy.ndarray is standin.ndarray:
            given = standin.csr_matrix(matrix)
        else:
            given = pytest.importorskip("cupyx.scipy.sparse").csr_matrix(matrix)
        assert cpu.step(matrix) and gpu.step(given)
    cpu.catch_up()
    assert same(host, on_device.get())
    with pytest.raises(ValueError, match=r"gradient of '0': csr_matrix of shape \(50, 4\), expected \(4, 50\)"):
        fo.Adam(cupy.array(np.ones((4, 50), np.float32))).step(given)
    with pytest.raises(TypeError, match="values of ndarray, expected an array on device 0"):
        gpu.step(matrix)


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "float8"])
@pytest.mark.parametrize("case", ["momentum", "adamw", "adam-options"])
def test_subnormals_that_are_flushed(case, state_dtype, cupy):
    """In the step alone: what is summed of a gradient is what it is."""
    found = []
    for flush in (True, False):
        host = {"w": np.full(300, 1e-38, np.float32), "b": np.ones(5, np.float32)}
        on_device = there(cupy, host)
        options = {"flush_subnormals": flush, "state_dtype": state_dtype, "clip_norm": 1e-37, "accumulate": 2}
        cpu, gpu = make(case, host, **options), make(case, on_device, **options)
        for k in range(6):
            g = {"w": data(300, np.float32, k) * np.float32(1e-38), "b": data(5, np.float32, k)}
            assert cpu.step(g) == gpu.step(there(cupy, g)) == (k % 2 == 1)
        check_same(cpu, gpu, host, on_device)
        found.append(gpu.fingerprint())
    assert found[0] != found[1]


def test_gradients_of_torch_in_bfloat16():
    """Whose interface does not name that dtype."""
    torch = pytest.importorskip("torch")

    class OnDevice:
        def __init__(self, tensor):
            self.tensor, self.dtype = tensor, tensor.dtype

        def detach(self):
            return self

        def view(self, dtype):
            return OnDevice(self.tensor.view(dtype))

        @property
        def __cuda_array_interface__(self):
            return self.tensor.numpy().__array_interface__

    with standin.installed() as cupy:
        for dtype in (np.float32, ml_dtypes.bfloat16):
            host = {"w": np.ones(300, dtype)}
            on_device = there(cupy, host)
            cpu, gpu = fo.Adam(host, lr=0.1), fo.Adam(on_device, lr=0.1)
            g = torch.linspace(-1, 1, 300, dtype=torch.bfloat16)
            assert cpu.step({"w": g}) and gpu.step({"w": OnDevice(g)})
            check_same(cpu, gpu, host, on_device)


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
def test_zeros_keep_their_signs(cupy):
    """A number of -0.0 among parameters, gradients, bounds and saved state."""
    host = {"number": np.array(-0.0), "vector": np.full(3, 2.0)}
    on_device = {"number": cupy.array(np.array([-0.0])).reshape(()), "vector": cupy.array(host["vector"])}
    cpu, gpu = (fo.SGD(params, lr=0.5, momentum=0.5, bounds=(-1.0, -0.0)) for params in (host, on_device))
    assert cpu.step({"number": 0.0, "vector": np.ones(3)}) and gpu.step({"number": 0.0, "vector": cupy.array(np.ones(3))})
    check_same(cpu, gpu, host, on_device)
    assert np.signbit(host["vector"]).all() and np.signbit(host["number"])
    cpu.step({"number": -0.0, "vector": None}), gpu.step({"number": -0.0, "vector": None})
    check_same(cpu, gpu, host, on_device)
    gpu.load_state_dict(cpu.state_dict())
    check_same(cpu, gpu, host, on_device)
