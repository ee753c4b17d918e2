"""Benchmarks: figures that staticnet must reach, and its times beside those of its peers, in one run."""
