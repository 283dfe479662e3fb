"""Benchmarks against plain eager code and other ways of storing images."""
