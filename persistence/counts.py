"""Counting what happens here without knowing who reads the counts.

It must never depend on a metrics library: the server's telemetry fits this port as it is. Called by `documents`.
"""

from typing import Protocol


class Count(Protocol):
    """Something that counts up."""

    def inc(self, by: int = 1) -> None:
        """Count `by` more."""


class _Nowhere:
    def inc(self, by: int = 1) -> None:
        """Count nothing."""


NOT_COUNTED: Count = _Nowhere()
