"""The storage and room code of two tasks, driven through seeded interleavings of their await points."""
