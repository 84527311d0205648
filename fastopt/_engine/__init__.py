"""The compiled engine: kernels per instruction set, and the Stepper that runs them."""
