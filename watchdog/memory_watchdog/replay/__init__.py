"""`memory-watchdog replay`: what was decided, and what other settings would decide, over what memory really did."""
