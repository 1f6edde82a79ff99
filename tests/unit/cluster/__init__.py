"""The parts of a cluster on one machine, without a server."""
