"""Measured comparisons: `python -m benchmarks.NAME [--quick] [--json]`."""
