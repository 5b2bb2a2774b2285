"""The flight recorder: the last ten minutes of a target in a small file that outlives whoever wrote it."""
