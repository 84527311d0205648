"""Optimizers on CUDA devices: parameters that are CuPy arrays take the same classes, options and files (extra ``cuda``).

Their kernels are rendered from the rules that the CPU's are, and compiled with the CPU's arithmetic: IEEE division and square root,
no contraction, subnormals flushed only by the steps of those who ask for it. What is summed is summed in the CPU's order. So the
bits are the CPU's.
"""

from .compiler import source

__all__ = ["source"]
