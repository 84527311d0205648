"""The CUDA half: its text compiles for real architectures, and has the bits of the CPU's kernels wherever it runs.

Where there is no device, it runs on the CPU: the same text by g++ (``shim.h``), called by the same Python through CuPy's names
(``standin.py``). Each test is there twice, the other time for a real device.
"""

import copy
import pickle
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
import standin
from cases import CASES, MUON, STAGE_OPTIONS, data, make, same

import fastopt as fo
from fastopt.cuda import backend, compiler, tables
from fastopt.spec import RULES, STAGES

HERE = Path(standin.__file__).parent
ARCHITECTURES = ["sm_70", "sm_80", "sm_90", "sm_100"]
SHAPES = {"matrix": (30, 41), "vector": (700,), "number": (), "nothing": (0, 3), "block": (256,), "more": (3, 5, 130)}
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


def device():
    """CuPy, or why it has no device."""
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")
    return cupy


@pytest.fixture(params=["shim", pytest.param("device", marks=pytest.mark.gpu)])
def cupy(request, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cuda"))
    compiler.kernels.cache_clear()
    if request.param == "device":
        yield device()
    elif not shutil.which("g++"):
        pytest.skip("needs g++")
    else:
        with standin.installed() as found:
            yield found
    compiler.kernels.cache_clear()


def start(dtype=np.float32, shapes=SHAPES, seed=1):
    found = {}
    for k, (name, shape) in enumerate(shapes.items()):
        values = data(2 * int(np.prod(shape)) + 1, np.float64, seed + k)
        n = int(np.prod(shape))
        values = values[:n] + 1j * values[n : 2 * n] if np.dtype(dtype).kind == "c" else values[:n]
        found[name] = np.array(values.reshape(shape), dtype)
    return found


def there(cupy, arrays):
    return {name: cupy.array(a) for name, a in arrays.items()}


def plain(a):
    return a.view(np.uint16) if a.dtype == ml_dtypes.bfloat16 else a


def check_same(cpu, gpu, host, on_device):
    """Parameters, their state and what is counted."""
    for name, a in host.items():
        assert same(plain(a), plain(on_device[name].get())), name
    ours, theirs = gpu.state_dict(), cpu.state_dict()
    for name, entry in theirs["state"].items():
        for key, x in entry.items():
            y = ours["state"][name][key]
            assert same(x, y) if isinstance(x, np.ndarray) else x == y, (name, key)
    assert gpu.fingerprint() == cpu.fingerprint() and gpu.steps == cpu.steps and gpu.skipped == cpu.skipped


def run(cupy, case, dtype=np.float32, steps=3, shapes=SHAPES, of_gradient=None, **options):
    """The same steps on both."""
    host = start(dtype, shapes)
    on_device = there(cupy, host)
    cpu, gpu = make(case, host, **options), make(case, on_device, **options)
    assert type(gpu) is type(cpu) and isinstance(gpu._backend, backend.CudaBackend)
    for k in range(steps):
        grads = start(of_gradient or dtype, shapes, seed=10 * k + 50)
        if k == 1:
            grads["vector"] = None
        given = {name: None if g is None else cupy.array(g) for name, g in grads.items()}
        assert gpu.step(given, scale=0.5) == cpu.step(grads, scale=0.5)
    check_same(cpu, gpu, host, on_device)
    return cpu, gpu


@pytest.mark.parametrize(
    "clips", [("clip_norm", "clip_global_norm"), ("clip_value", "clip_norm"), ("clip_value", "clip_global_norm")]
)
def test_a_limit_beyond_floats_changes_no_norm_before_it(cupy, clips):
    options = {"lr": 1.0, clips[0]: 1.0, clips[1]: 1e39}
    p, q, g = np.zeros(2, np.float32), cupy.array(np.zeros(2, np.float32)), np.full(2, 1e39)
    fo.SGD(p, **options).step(g)
    fo.SGD(q, **options).step(cupy.array(g))
    assert same(p, q.get()) and (np.abs(p) > 0.7).all()


def need_nvrtc(target):
    """Skip where there is no compiler, or none for this."""
    pytest.importorskip("cupy")
    from cupy.cuda import nvrtc

    try:
        supported = nvrtc.getSupportedArchs()
    except RuntimeError as error:
        pytest.skip(f"no NVRTC: {error}")
    if int(target.partition("_")[2]) not in supported:
        pytest.skip(f"NVRTC {nvrtc.getVersion()} compiles for {supported}")


@pytest.mark.parametrize("flush", [False, True])
def test_subnormals_are_flushed_where_it_was_asked_for(flush):
    need_nvrtc("compute_80")
    text = compiler.compiled(compiler.source("adam"), "compute_80", flush)
    assert (b"mul.rn.ftz.f32" in text) == flush and (b"mul.rn.f32" in text) != flush


@pytest.mark.parametrize("target", ARCHITECTURES)
def test_every_kernel_compiles(target):
    need_nvrtc(target)
    names = list(RULES)
    parts = names[::2], names[1::2]
    texts = [compiler.source(part) for part in parts]
    with ThreadPoolExecutor(2) as pool:
        halves = list(pool.map(lambda text: compiler.compiled(text, target), texts))
    for code, part in zip(halves, parts, strict=True):
        for name in part:
            for kind in ("step", "sum", "prepare"):
                assert f"{name}_{kind}".encode() in code
    machine = halves[0] + halves[1]
    assert machine.startswith(b"\x7fELF")


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [c for c in CASES if c not in MUON and not c.startswith("schedule-free")])
def test_all_stages_together(case, dtype, cupy):
    run(cupy, case, DTYPES[dtype], **(ALL | ({} if "adafactor" in case else {"accumulate": 1})))


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


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
def test_groups_schedules_and_reports(cupy):
    host = start()
    on_device = there(cupy, host)
    names = list(host)

    def groups(params):
        first = {"params": {n: params[n] for n in names[:3]}, "lr": 0.05, "weight_decay": 0.1, "clip_norm": 0.5}
        return [first, {"params": {n: params[n] for n in names[3:]}, "lr": fo.schedules.linear_decay(0.1, 10), "betas": (0.5, 0.9)}]

    cpu, gpu = (fo.Adam(groups(x), norms=True, clip_global_norm=2.0, bounds=(-1, 1)) for x in (host, on_device))
    for k in range(3):
        grads = start(seed=k + 40)
        cut = [{n: g[n] for n in part} for part in (names[:3], names[3:]) for g in [grads]]
        assert cpu.step(cut) and gpu.step([there(cupy, part) for part in cut])
        assert cpu.report() == gpu.report()
    cpu.groups[0]["lr"] = gpu.groups[0]["lr"] = 1e-3
    assert cpu.lr == gpu.lr
    cpu.add_group({"params": np.ones(5, np.float32)})
    gpu.add_group({"params": cupy.array(np.ones(5, np.float32))})
    last = [*({n: None for n in part} for part in (names[:3], names[3:])), np.arange(5, dtype=np.float32)]
    assert cpu.step(last) and gpu.step([*last[:2], cupy.array(last[2])])
    assert cpu.fingerprint() == gpu.fingerprint()


@pytest.mark.parametrize("case", ["adam", "prodigy", "nadam", "dog", "schedule-free-adamw", "adafactor", "muon"])
def test_files_load_on_either(case, cupy, tmp_path):
    """Train on the device, resume on the CPU; and back."""
    host = start()
    on_device = there(cupy, start(seed=7))
    cpu, gpu = make(case, host), make(case, on_device)
    for k in range(2):
        gpu.step(there(cupy, start(seed=k + 60)))
    gpu.save(tmp_path / "there.npz", extra={"epoch": 3})
    assert cpu.load(tmp_path / "there.npz") == {"epoch": 3}
    assert cpu.fingerprint() == gpu.fingerprint()
    grads = start(seed=70)
    cpu.step(grads)
    gpu.step(there(cupy, grads))
    if case != "muon":
        assert cpu.fingerprint() == gpu.fingerprint()
    cpu.save(tmp_path / "here.npz")
    gpu.load(tmp_path / "here.npz")
    assert cpu.fingerprint() == gpu.fingerprint()
    gpu.load_state_dict(cpu.state_dict())
    gpu.reset()
    assert gpu.steps == 0


def test_copies(cupy):
    on_device = there(cupy, start())
    gpu = fo.Prodigy(on_device, lr=1.0)
    gpu.step(there(cupy, start(seed=3)))
    for made in (pickle.loads(pickle.dumps(gpu)), copy.deepcopy(gpu)):
        assert type(made) is type(gpu) and made.fingerprint() == gpu.fingerprint()
        grads = there(cupy, start(seed=4))
        again = copy.deepcopy(gpu)
        again.step(grads)
        made.step(grads)
        assert made.fingerprint() == again.fingerprint() != gpu.fingerprint()
    assert "Prodigy" in repr(gpu)


def test_bound_gradients_that_are_cleared(cupy):
    host = start()
    on_device, grads = there(cupy, host), start(seed=5)
    given = there(cupy, grads)
    cpu, gpu = fo.Adam(host, zero_grads=True), fo.Adam(on_device, zero_grads=True)
    cpu.bind(grads)
    gpu.bind(given)
    assert cpu.step() and gpu.step()
    check_same(cpu, gpu, host, on_device)
    assert all((g.get() == 0).all() for g in given.values())
    transposed = cupy.array(np.ones((3, 4), np.float32))
    other = fo.SGD(cupy.array(np.zeros((4, 3), np.float32)), zero_grads=True, lr=1.0)
    other.bind(transposed.T)
    assert other.step() and (transposed.get() == 0).all() and (other.params.get() == -1).all()


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


def test_average_and_state(cupy):
    on_device = there(cupy, start())
    gpu = fo.SGD(on_device, lr=0.1, ema=0.5)
    before = on_device["matrix"].get()
    gpu.step(there(cupy, start(seed=9)))
    after = on_device["matrix"].get()
    np.testing.assert_array_equal(gpu.average["matrix"].get(), before + np.float32(0.5) * (after - before))
    free = fo.ScheduleFreeSGD(on_device, lr=0.1)
    free.step(there(cupy, start(seed=9)))
    assert free.average["matrix"].get().shape == (30, 41)


def test_one_launch_serves_a_list_and_nothing_waits(cupy):
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("counted by the stand-in")
    params = [cupy.array(data(100, np.float32, k + 1)) for k in range(1000)]
    grads = [cupy.array(data(100, np.float32, k + 1)) for k in range(1000)]
    gpu = fo.Adam(params, lr=0.1, clip_global_norm=1.0, ema=0.9)
    gpu.step(grads)
    standin.launches.clear(), standin.synchronizations.clear(), standin.uploads.clear()
    gpu.step(grads)
    names = [name for name, _ in standin.launches]
    assert names == ["sum_gradients", "add_blocks", "adam_prepare", "prepare_stages", "adam_step"]
    assert names.count("adam_step") == 1 and standin.synchronizations == []
    assert max(standin.uploads) <= 1 << 16  # what the runtime takes without waiting


def test_another_stream_waits_for_the_steps_before():
    with standin.installed() as cupy:
        gpu = fo.SGD(cupy.array(np.ones(3, np.float32)))
        standin.waits.clear()
        g = cupy.array(np.ones(3, np.float32))
        gpu.step(g)
        assert standin.waits == []
        standin.streams.append(7)
        try:
            gpu.step(g)
            gpu.step(g)
        finally:
            standin.streams.pop()
        gpu.step(g)
        assert standin.waits == [(7, 0), (0, 7)]


@pytest.mark.parametrize("what", ["step", "rows", "state_dict", "reset", "report", "average"])
def test_all_work_on_another_stream_waits_before_anything_else(what):
    with standin.installed() as cupy:
        gpu = fo.SGD(cupy.array(np.ones((4, 3), np.float32)), momentum=0.9, ema=0.5)
        rows = fo.RowGradient([2], cupy.array(np.ones((1, 3), np.float32)))
        gpu.step(cupy.array(np.ones((4, 3), np.float32)))
        given = cupy.array(np.ones((4, 3), np.float32))
        does = {"step": lambda: gpu.step(given), "rows": lambda: gpu.step(rows), "average": lambda: gpu.average}
        standin.streams.append(7)
        standin.log.clear(), standin.waits.clear()
        try:
            does.get(what, lambda: getattr(gpu, what)())()
        finally:
            standin.streams.pop()
        assert standin.waits == [(7, 0)] and standin.log[0] == "wait"
        gpu.step(given)
        assert standin.waits == [(7, 0), (0, 7)]


def test_another_device_may_be_current():
    with standin.installed() as cupy:
        with cupy.cuda.Device(1):
            w, g = cupy.array(np.ones((4, 3), np.float32)), cupy.array(np.ones((4, 3), np.float32))
        gpu = fo.AdamW(w, ema=0.5, bounds=(-9, np.full((4, 3), 9.0)), state_dtype="float8")
        assert gpu.step(g)
        saved = gpu.state_dict()
        assert gpu.average.device.id == 1
        gpu.reset()
        gpu.load_state_dict(saved)
        with pytest.raises(TypeError, match="expected an array on device 1"):
            gpu.step(np.ones((4, 3), np.float32))
        gpu.bind(g)
        assert gpu.step() and standin.current == [0]
        again = copy.deepcopy(gpu)
        assert again.fingerprint() == gpu.fingerprint() and pickle.loads(pickle.dumps(saved))["state"]


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
def test_options_that_are_arrays_on_the_device(cupy):
    """They are what they were when they were given."""
    host = {"w": np.ones((4, 3), np.float32)}
    on_device, factor, high = there(cupy, host), np.linspace(0, 1, 12).reshape(4, 3), np.full((4, 3), 0.8)
    cpu = fo.SGD(host, lr=0.5, step_scale={"w": factor}, bounds=(-1.0, {"w": high}))
    given, most = cupy.array(factor), cupy.array(high)
    gpu = fo.SGD(on_device, lr=0.5, step_scale={"w": given}, bounds=(-1.0, {"w": most}))
    given[...], most[...] = 0, 0
    assert cpu.step({"w": np.ones((4, 3), np.float32)}) and gpu.step({"w": cupy.array(np.ones((4, 3), np.float32))})
    check_same(cpu, gpu, host, on_device)


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


def test_sums_that_decide_make_the_host_wait(cupy):
    p = cupy.array(np.ones(10, np.float32))
    gpu = fo.Adam(p, nonfinite="raise")
    bad = np.ones(10, np.float32)
    bad[3] = np.inf
    with pytest.raises(FloatingPointError, match="gradient of '0': 1 elements are infinite or NaN"):
        gpu.step(cupy.array(bad))
    assert (p.get() == 1).all() and gpu.steps == 0
    assert gpu.step(cupy.array(np.ones(10, np.float32)))


def test_errors_name_what_is_wrong(cupy):
    w = cupy.array(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="parameter 'b': ndarray, expected a CuPy array"):
        fo.Adam({"w": w, "b": np.ones(3, np.float32)})
    with pytest.raises(TypeError, match="parameter 'w': dtype int"):
        fo.Adam({"w": cupy.array(np.ones(3, np.int32))})
    with pytest.raises(ValueError, match="share memory"):
        fo.Adam({"w": w, "again": w[0]})
    with pytest.raises(ValueError, match="flush_subnormals: 'v' is of 64 bits, where CUDA never flushes; expected narrower"):
        fo.Adam({"w": w, "v": cupy.array(np.ones(3))}, flush_subnormals=True)
    with pytest.raises(ValueError, match="flush_subnormals: 'v' is of 64 bits"):
        fo.Adam({"v": cupy.array(np.ones(3, np.complex128))}, flush_subnormals=True)
    assert fo.Adam({"v": cupy.array(np.ones(3, np.complex64))}, flush_subnormals=True).steps == 0
    opt = fo.Adam({"w": w})
    before = opt.fingerprint()
    for g, error, text in [
        (np.ones((2, 3), np.float32), TypeError, "gradient of 'w': ndarray, expected an array on device 0"),
        (cupy.array(np.ones((3, 2), np.float32)), ValueError, r"gradient of 'w': shape \(3, 2\), expected \(2, 3\)"),
        (cupy.array(np.ones((2, 3), np.int64)), TypeError, "gradient of 'w': dtype int64"),
        (w, ValueError, "gradient of 'w': shares memory with parameter 'w'"),
        (
            fo.RowGradient([0], np.ones((1, 3), np.float32)),
            TypeError,
            "gradient of 'w': values of ndarray, expected an array on dev",
        ),
        (fo.RowGradient([2], cupy.array(np.ones((1, 3), np.float32))), ValueError, "gradient of 'w': row 2, expected rows below 2"),
    ]:
        with pytest.raises(error, match=text):
            opt.step({"w": g})
    with pytest.raises(ValueError, match="missing keys"):
        opt.step({})
    with pytest.raises(TypeError, match="expected a CuPy array to bind"):
        opt.bind({"w": np.ones((2, 3), np.float32)})
    assert opt.fingerprint() == before


def test_a_kernel_that_does_not_compile_leaves_everything_as_it_was(monkeypatch, tmp_path):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    text = compiler.source
    monkeypatch.setattr(tables, "source", lambda rule: text(rule) + ("nonsense" if rule == "adam" else ""))
    compiler.kernels.cache_clear()
    with standin.installed() as cupy:
        params = {"matrix": cupy.array(np.ones((4, 3), np.float32)), "vector": cupy.array(np.ones(3, np.float32))}
        opt = fo.Muon(params)
        before = opt.fingerprint()
        with pytest.raises(RuntimeError, match=r"NVRTC: (.|\n)*nonsense"):
            opt.step({name: cupy.array(np.ones(a.shape, np.float32)) for name, a in params.items()})
        assert opt.fingerprint() == before and opt.steps == 0
    compiler.kernels.cache_clear()


def test_arrays_of_two_devices_are_refused():
    with standin.installed() as cupy:
        w = cupy.array(np.ones(3, np.float32))
        with cupy.cuda.Device(1):
            b = cupy.array(np.ones(3, np.float32))
        with pytest.raises(ValueError, match="parameter 'b': on device 1, expected device 0"):
            fo.Adam({"w": w, "b": b})
        opt = fo.Adam(w)
        with pytest.raises(ValueError, match="gradient of '0': on device 1, expected device 0"):
            opt.step(b)


def test_structs_are_those_of_c(tmp_path):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    structs = {"fo_array": tables.ARRAY, "fo_step_args": tables.STEP_ARGS, "fo_plan": tables.PLAN}
    lines = [f'#include "{HERE / "shim.h"}"', compiler.source([]), "#include <stdio.h>", "int main() {"]
    expected = []
    for name, dtype in structs.items():
        lines += [f'printf("{name} %zu\\n", sizeof({name}));']
        expected += [f"{name} {dtype.itemsize}"]
        for field, (_, offset) in ((f, dtype.fields[f][:2]) for f in dtype.names):
            lines += [f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));']
            expected += [f"{name}.{field} {offset}"]
    for k, name in enumerate(STAGES):
        lines += [f'printf("{name} %d\\n", FO_{name.upper()});']
        expected += [f"{name} {k}"]
    (tmp_path / "structs.cpp").write_text("\n".join([*lines, "}"]))
    subprocess.run(["g++", "-std=c++17", "-w", tmp_path / "structs.cpp", "-o", tmp_path / "structs"], check=True)
    assert subprocess.run([tmp_path / "structs"], capture_output=True, text=True, check=True).stdout.split("\n")[:-1] == expected


MUTATIONS = [
    (r"v = keep \* v \+ w2 \* g \* g;", "v = keep * v + w2 * (g * g);", "adam"),
    (r"m = m \+ w1 \* \(g - m\);", "m = m + w1 * g - w1 * m;", "adam"),
    (r"e->p = e->p - e->u;", "e->p = e->p - e->u * (real)1.0000001;", "adam"),
    (r"x = x \+ lane\[i\];", "x = lane[i] + x + 1e-300;", None),
    (r"c\[1\] = 1.0 - beta1;", "c[1] = (1.0 - beta1) * (1.0 + 1e-7);", "adam"),
]


@pytest.mark.parametrize(("line", "other", "rule"), [m for m in MUTATIONS if m[2]])
def test_a_mutated_line_of_arithmetic_is_noticed(line, other, rule, monkeypatch, tmp_path):
    """The comparison of bits can fail: one line of the text is changed."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    text = compiler.source(rule)
    assert re.search(line, text)
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tables, "source", lambda _: re.sub(line, other, text))
    compiler.kernels.cache_clear()
    with standin.installed() as cupy, pytest.raises(AssertionError):
        run(cupy, "adam", shapes={"matrix": (30, 41), "vector": (700,)})
    compiler.kernels.cache_clear()


def test_source_is_whole():
    text = fo.cuda.source()
    assert '#include "' not in text and all(f"FO_KERNEL {name}_step" in text for name in RULES)
    assert fo.cuda.source("adam") == fo.cuda.source(["adam"]) and "FO_KERNEL sgd_step" not in fo.cuda.source("adam")
    with pytest.raises(ValueError, match="rules: \\['adamm'\\], expected among adabelief"):
        fo.cuda.source("adamm")
    committed = (Path(fo.__file__).parent / "cuda" / "generated" / "kernels.cu").read_text()
    assert committed.splitlines()[-1] == text.splitlines()[-1]


def test_architectures():
    choose = compiler.architecture
    assert choose((75, 80, 86, 90), "86") == "sm_86" and choose((75, 80, 90), "89") == "sm_80"
    assert choose((75, 80, 90), "100") == "compute_90"
    with pytest.raises(RuntimeError, match=r"from 7\.5 on; the device has 7\.0"):
        choose((75, 80), "70")
