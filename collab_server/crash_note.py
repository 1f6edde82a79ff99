"""A note of the update that is being applied, in memory that outlives this process: the supervisor reads it afterwards.

Written before the CRDT gets an update and cleared after it, so a note that is still there when the process is gone
says which update ended it, and whose it was. It lies in memory shared with the supervisor, never in a file: content is
not left behind on a disk. Costs half a microsecond an update. There is one a process, as there is one CRDT at work in
it. Off until `use`; must never raise while an edit is under way. Written by `replica`, read by `commands.supervisor`.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from uuid import UUID

from persistence.quarantine import CRASH, KILLED, RefusedUpdate

_HEAD = struct.Struct("<II?")  # bytes of the author and of the update, and whether its digest stands in its place
_NOTHING = bytes(_HEAD.size)
_ID_BYTES = 16
LONGEST_AUTHOR_BYTES = 1024  # a document's id and a subject of 128 characters


def author_of(document_id: UUID, subject: str) -> bytes:
    """Who applies what to which document, as the note holds it."""
    return document_id.bytes + subject.encode()[: LONGEST_AUTHOR_BYTES - _ID_BYTES]


class CrashNote:
    """See the module."""

    __slots__ = ("_longest_update_bytes", "_memory")

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._longest_update_bytes = 0

    def use(self, longest_update_bytes: int) -> None:
        """Take memory that processes forked from now on share; of a longer update only the digest is kept."""
        self._longest_update_bytes = longest_update_bytes
        self._memory = mmap.mmap(-1, _HEAD.size + LONGEST_AUTHOR_BYTES + max(longest_update_bytes, 32))

    def begin(self, author: bytes, update: bytes) -> None:
        """`author` is about to apply `update`."""
        memory = self._memory
        if memory is None or not author:
            return
        size = len(update)
        if size <= self._longest_update_bytes:
            memory[9 : 9 + len(author) + size] = author + update
            memory[:9] = _HEAD.pack(len(author), size, False)  # last: a note that is there is whole
        else:
            digest = hashlib.sha256(update).digest()
            memory[9 : 9 + len(author) + len(digest)] = author + digest
            memory[:9] = _HEAD.pack(len(author), size, True)

    def end(self) -> None:
        """It is applied, or has failed without ending the process."""
        if self._memory is not None:
            self._memory[:9] = _NOTHING

    def take(self, *, was_killed: bool) -> RefusedUpdate | None:
        """What a process that is gone was applying, if anything; the note is empty then.

        `was_killed` tells a process that was ended from outside, where the update may be innocent.
        """
        memory = self._memory
        if memory is None:
            return None
        author_bytes, size, is_digest = _HEAD.unpack(memory[:9])
        if not author_bytes:
            return None
        author = memory[9 : 9 + author_bytes]
        rest = memory[9 + author_bytes : 9 + author_bytes + (32 if is_digest else size)]
        self.end()
        document_id, subject = UUID(bytes=author[:_ID_BYTES]), author[_ID_BYTES:].decode(errors="replace")
        reason = KILLED if was_killed else CRASH
        if is_digest:
            return RefusedUpdate(document_id, subject, reason, rest, size)
        return RefusedUpdate.of(document_id, subject, reason, rest)


CRASH_NOTE = CrashNote()
