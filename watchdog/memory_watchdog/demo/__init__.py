"""`memory-watchdog demo`: a small server that really grows, its load, and the table that shows the watchdog at work."""
