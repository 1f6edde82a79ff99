"""The same load against other Yjs servers and ours. `python -m bench.peers`; docs/performance.md says more."""
