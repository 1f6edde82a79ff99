"""The worker processes that check big updates and split big documents, started before anybody needs one.

Must never share workers with checkpoints. Called by `assembly`, which stops them through the stack it gives.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from collab_server import big_work
from collab_server.errors import ConfigurationError
from collab_server.rooms.offload import Offload
from collab_server.settings import Settings
from persistence.sandbox import Sandbox, SandboxFailed


async def started_offload(settings: Settings, stack: AsyncExitStack) -> Offload:
    """An `Offload` whose workers run. Raises `ConfigurationError` when they cannot."""
    # Workers of its own: who opens a big document shall not wait for the checkpoint of another.
    splitters = Sandbox(
        max_workers=settings.big_document_workers,
        memory_bytes=settings.checkpoint_worker_bytes,
        preload=(big_work.__name__,),
    )
    stack.push_async_callback(splitters.close)
    try:
        await splitters.start()  # to begin one later would stop the loop for 30 ms
    except SandboxFailed as failure:
        raise ConfigurationError(
            f"worker processes do not start ({failure}): check COLLAB_CHECKPOINT_WORKER_BYTES"
        ) from failure
    return Offload(splitters, big_update_bytes=settings.big_update_bytes, timeout_s=settings.checkpoint_timeout_s)
