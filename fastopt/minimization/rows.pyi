from typing import Any

import numpy as np

TOGETHER: int

def judge(arrays: Any, criteria: np.ndarray, fun: np.ndarray, nit: int) -> int: ...
def run(
    optimizer: Any,
    arrays: Any,
    criteria: np.ndarray,
    address: int,
    data: int,
    steps: np.ndarray,
    carry: np.ndarray,
    block: int,
    seconds: float,
) -> bool: ...
def is_plain(optimizer: Any) -> bool: ...
