"""The kit beside what does the same job; `python -m benchmarks.kit [PART …]`, each part a module of this folder."""
