"""Grafana dashboards, and the code that they are generated from: `make dashboards` writes the JSON files beside it.

Covers: fleet, target, watchdog. Leaves to others: the metrics (`memory_watchdog.web.families`), alert rules (`alerts`).
"""
