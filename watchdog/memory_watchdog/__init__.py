"""The memory watchdog. Imports nothing, so that reading the version costs nothing."""

__version__ = "0.1.0"
