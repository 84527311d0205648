"""Trees of arrays and their memory, dtypes and layout; the code that NumPy and CuPy arrays share."""
