"""How a checkpoint's state is packed for storage: one zstd frame that names its size. Pure.

It must never unpack more than it was told to: a frame of a few bytes may claim gigabytes. Called by the checkpointer
(pack) and by `Documents` (unpack), both on a thread, where zstd releases the interpreter lock.
"""

import zstandard

LEVEL = 3  # zstd's default: higher ones win under 5 % on Yjs states and take several times as long
# Ten times the largest document we promise to open (20 MB), with room for its history of deletions.
MAX_STATE_BYTES = 256 * 1024 * 1024


class Undecodable(Exception):
    """The stored bytes are not what was written, or unpack to more than the limit."""


def compress(state: bytes) -> bytes:
    """Pack `state` with its size and a checksum in the frame. Raises ValueError above `MAX_STATE_BYTES`."""
    if len(state) > MAX_STATE_BYTES:
        raise ValueError(f"a state of {len(state)} bytes is over the limit of {MAX_STATE_BYTES}")
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(state)


def decompress(packed: bytes, max_bytes: int = MAX_STATE_BYTES) -> bytes:
    """Unpack. Raises Undecodable for anything but one whole frame that names a size of at most `max_bytes`."""
    try:
        # The library allocates what the header claims, whatever limit it is given: so read the claim first.
        claimed = zstandard.frame_content_size(packed)
        if not 0 <= claimed <= max_bytes:
            raise Undecodable(f"the frame claims {claimed} bytes, at most {max_bytes} are taken")
        return zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        raise Undecodable(str(error)) from error
