"""The note of what is being applied is whole or not there, and readable by the process that forked its writer."""

from __future__ import annotations

import hashlib
import os
from uuid import uuid4

import pytest

from collab_server.crash_note import LONGEST_AUTHOR_BYTES, CrashNote, author_of
from persistence.quarantine import CRASH, KILLED

DOCUMENT = uuid4()
ADA = author_of(DOCUMENT, "ada")
LONGEST = 1_000


def noted() -> CrashNote:
    note = CrashNote()
    note.use(LONGEST)
    return note


def test_what_a_process_was_applying_when_it_died_is_read_by_its_parent() -> None:
    note = noted()
    child = os.fork()
    if child == 0:
        note.begin(author_of(DOCUMENT, "the one before, with a longer name"), b"z" * 500)
        note.end()
        note.begin(ADA, b"fatal")
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    found = note.take(was_killed=False)
    assert found is not None
    assert (found.document_id, found.actor_id, found.reason) == (DOCUMENT, "ada", CRASH)
    assert (found.update, found.size_bytes) == (b"fatal", 5)
    assert found.sha256 == hashlib.sha256(b"fatal").digest()
    assert note.take(was_killed=False) is None


def test_what_was_applied_leaves_nothing() -> None:
    note = noted()
    note.begin(ADA, b"sound")
    note.end()
    assert note.take(was_killed=False) is None


def test_who_was_ended_from_outside_may_be_innocent() -> None:
    note = noted()
    note.begin(ADA, b"any")
    found = note.take(was_killed=True)
    assert found is not None
    assert found.reason == KILLED


@pytest.mark.parametrize("size", [0, 1, LONGEST, LONGEST + 1, 100 * LONGEST])
def test_of_what_is_too_long_the_digest_stays(size: int) -> None:
    note, update = noted(), b"x" * size
    note.begin(ADA, update)
    found = note.take(was_killed=False)
    assert found is not None
    assert (found.size_bytes, found.sha256) == (size, hashlib.sha256(update).digest())
    assert found.update == (update if size <= LONGEST else None)


def test_the_longest_subject_fits() -> None:
    note, subject = noted(), "€" * 128
    note.begin(author_of(DOCUMENT, subject), b"x" * LONGEST)
    found = note.take(was_killed=False)
    assert found is not None
    assert (found.actor_id, found.update) == (subject, b"x" * LONGEST)
    assert len(author_of(DOCUMENT, "x" * 10_000)) == LONGEST_AUTHOR_BYTES


def test_without_a_supervisor_or_an_author_nothing_is_noted() -> None:
    off, on = CrashNote(), noted()
    off.begin(ADA, b"x")
    off.end()
    on.begin(b"", b"x")
    assert off.take(was_killed=False) is None
    assert on.take(was_killed=False) is None
