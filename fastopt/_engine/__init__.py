"""Engine: kernels, compiled and interpreted backends, and the Stepper that drives them."""
