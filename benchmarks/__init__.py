"""Benchmarks of kd: ``python -m benchmarks.NAME`` prints one JSON; README.md says what each measures."""
