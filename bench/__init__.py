"""What one update costs. `python -m bench` prints it; docs/performance.md says how to read it."""
