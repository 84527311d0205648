"""Optimizers that are divided among the processes of MPI: the bits of one process, whatever their number.

Start programs by ``mpiexec -n 4 python -m mpi4py program.py``: with ``-m mpi4py``, an exception in one process ends all.
"""

from .sharded import Sharded

__all__ = ["Sharded"]
