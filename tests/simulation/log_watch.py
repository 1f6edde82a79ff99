"""What a world hears of the log: a line that says something of ours failed breaks a promise.

Unless the world's own weather is the cause. Called by `world.simulate`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from structlog.typing import EventDict, WrappedLogger

from persistence.checkpointer import CheckpointRefused, Overtaken
from persistence.documents import DocumentUnloadable
from persistence.errors import StorageUnavailable
from persistence.recorder import RecorderStopped
from persistence.sandbox import SandboxFailed

if TYPE_CHECKING:
    from tests.simulation.world import World

EXPECTED = (StorageUnavailable, SandboxFailed, RecorderStopped, Overtaken)
FAULTS = {
    "acknowledgement_failed",
    "background_task_failed",
    "bus_receiver_failed",
    "checkpoint_failed",
    "envelope_refused",
    "recorder_failed",
    "recorder_listener_failed",
    "update_refused",
}  # what the log tells of a failure that is none of the weather's, unless its cause is expected


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Take the log for the world's time: what says that something of ours failed breaks a promise."""

    def hear(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if event["event"] in FAULTS:
            cause = event.get("exc_info")
            rotten = world.is_spoilt and isinstance(cause, (DocumentUnloadable, CheckpointRefused))
            if not (rotten or isinstance(cause, EXPECTED) or getattr(cause, "temporary", False)):
                world.checker.violated(f"the log says {event}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[hear],
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
