"""Benchmarks: the package compared with plain eager code, and with another way of storing images."""
