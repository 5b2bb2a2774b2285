"""From crossing a threshold to the cleanup request; `python -m benchmarks.reaction`."""
