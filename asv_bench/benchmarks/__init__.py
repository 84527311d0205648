"""fastopt's benchmarks. asv imports them and then forks: nothing here runs a kernel when it is imported."""
