"""Benchmarks on real parts: a broker, a tenant over HTTP, the producer as a process. Run: `python -m benchmarks`."""
