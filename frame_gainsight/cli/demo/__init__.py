"""The demo: the whole way on real parts, held against what the simulated tenant expects."""
