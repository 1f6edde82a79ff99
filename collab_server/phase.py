"""Where a connection stands: each phase follows the one above it, never the other way. Kept by `connection`."""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """From the first byte to the last."""

    OPENING = auto()  # until the whole request is read
    ADMITTING = auto()  # rights are checked, the document is loaded
    SEATED = auto()  # messages flow
    ENDING = auto()  # an answer or a close frame is on its way out; nothing more is read
