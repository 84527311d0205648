"""Optimizers on CUDA devices: the same classes, options and files for parameters that are CuPy arrays (extra ``cuda``).

The kernels are rendered from the same rules as those of the CPU and compiled with the same arithmetic: IEEE division and square
root, no contraction, subnormals flushed only with ``flush_subnormals=True``. Sums are in the same order. So the bits are
those of the CPU.
"""

from .compiler import source

__all__ = ["source"]
