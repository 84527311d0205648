"""Benchmarks of fastopt. asv imports them and then forks: nothing here may run a kernel on import."""
