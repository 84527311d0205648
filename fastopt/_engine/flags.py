"""How kernels are compiled: for the package, and for users' own rules. Read by setup.py, so that it imports nothing."""

# Not -ffast-math: loading such a library flushes subnormals in the whole process.
UNIX = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
ISAS = {  # by what the compiler says of itself
    "baseline": [],
    "x86-64-v3": ["-march=x86-64-v3"],
    "x86-64-v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
