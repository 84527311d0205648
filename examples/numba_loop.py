"""A line through points, by Adam, in one compiled loop of numba's: ``pip install numba``, ``python numba_loop.py``."""

import ctypes

import numba
import numpy as np

import fastopt as fo

apply = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32)(fo.embed.addresses()["fastopt_apply"])


@numba.njit
def fit(x, y, w, g, update, address, steps):
    for t in range(1, steps + 1):
        g[:] = 0
        for i in range(x.size):
            error = w[0] * x[i] + w[1] - y[i]
            g[0] += 2 * error * x[i] / x.size
            g[1] += 2 * error / x.size
        update[0]["t"] = t
        if apply(address, 1, 1):
            return t
    return 0


x = np.linspace(0, 1, 100)
y = 2 * x + 1 + 0.1 * np.random.default_rng(0).standard_normal(100)
w, g, m, v = (np.zeros(2) for _ in range(4))
update, hyperparameters = fo.embed.updates(1), np.array([0.1, 0.9, 0.999, 1e-8, 0, 0])
update["rule"], update["n"] = fo.embed.find_rule("adam"), w.size
update["param_format"] = update["grad_format"] = update["state_format"] = fo.embed.FORMATS.index("float64")
update["param_in"] = update["param_out"] = w.ctypes.data
update["grad"], update["state"][0, :2] = g.ctypes.data, (m.ctypes.data, v.ctypes.data)
update["hyperparameters"] = hyperparameters.ctypes.data

assert fit(x, y, w, g, update, update.ctypes.data, 500) == 0, "fastopt_apply refused"
print(f"weight {w[0]:.6f} bias {w[1]:.6f}; least squares: {np.polyfit(x, y, 1).round(6)}")
