"""Servers that are guarded by the kit, to start from and to try things on."""
