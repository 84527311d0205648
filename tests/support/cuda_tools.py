"""Steps of CuPy arrays and of NumPy arrays, compared.

Where there is no device, they run on the CPU: the same text by g++ (``shim.h``), called by the same Python through CuPy's names
(``standin.py``).
"""

import ml_dtypes
import numpy as np
import pytest
from cases import data, make, same

from fastopt.cuda import backend

SHAPES = {"matrix": (30, 41), "vector": (700,), "number": (), "nothing": (0, 3), "block": (256,), "more": (3, 5, 130)}


def device():
    """CuPy, or why it has no device."""
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")
    return cupy


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
