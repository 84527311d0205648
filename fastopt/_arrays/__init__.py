"""Trees of arrays, their memory, dtypes and layout; what NumPy and CuPy arrays share."""
