"""What the numbers mean: pure code without I/O and without a clock; the same input gives the same output."""
