"""Compiler flags of kernels, for the package and for users' rules. ``setup.py`` reads this file, so it imports nothing."""

# Not -ffast-math: loading such a library flushes subnormals in the whole process.
# Contraction to FMA would make bits depend on the compiler.
# A short loop that crosses a line of the cache takes 1.5 times as long on some processors.
UNIX = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-falign-loops=64"]
ISAS = {  # By the names that compilers use.
    "baseline": [],
    "x86-64-v3": ["-march=x86-64-v3"],
    "x86-64-v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
