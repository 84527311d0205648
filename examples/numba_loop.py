"""Denoise a signal by Adam in a compiled numba loop: ``pip install numba``, ``python numba_loop.py``."""

import ctypes

import numba
import numpy as np

import fastopt as fo

apply = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32)(fo.embed.addresses()["fastopt_apply"])


@numba.njit
def smooth(w, y, g, weight, update, address, steps):
    """Minimize ``sum((w - y)**2) / 2 + weight * sum(diff(w)**2) / 2``; return the number of a refused step, or 0."""
    last = w.size - 1
    for t in range(1, steps + 1):
        g[0] = w[0] - y[0] + weight * (w[0] - w[1])
        for i in range(1, last):
            g[i] = w[i] - y[i] + weight * (w[i] - w[i - 1] + (w[i] - w[i + 1]))
        g[last] = w[last] - y[last] + weight * (w[last] - w[last - 1])
        update[0]["t"] = t
        if apply(address, 1, 1):
            return t
    return 0


clean = np.sin(np.linspace(0, 20, 10_000))
y = clean + 0.5 * np.random.default_rng(0).standard_normal(clean.size)
w, g, m, v = y.copy(), np.zeros_like(y), np.zeros_like(y), np.zeros_like(y)
update, hyperparameters = fo.embed.updates(1), np.array([0.05, 0.9, 0.999, 1e-8, 0, 0])
update["rule"], update["n"] = fo.embed.find_rule("adam"), w.size
update["param_format"] = update["grad_format"] = update["state_format"] = fo.embed.FORMATS.index("float64")
update["param_in"] = update["param_out"] = w.ctypes.data
update["grad"], update["state"][0, :2] = g.ctypes.data, (m.ctypes.data, v.ctypes.data)
update["hyperparameters"] = hyperparameters.ctypes.data

assert smooth(w, y, g, 1000.0, update, update.ctypes.data, 1000) == 0, "fastopt_apply refused"
print(f"root mean square error {np.sqrt(np.mean((y - clean) ** 2)):.3f} before, {np.sqrt(np.mean((w - clean) ** 2)):.3f} after")
