"""Takes in an update that is too big for one turn of the loop, while its sender's further messages wait.

A worker process checks it and cuts it into pieces; each piece is then applied, relayed and journaled like an update of
its own, one a turn of the loop. A piece needs nothing but what the room and the earlier pieces hold, so wherever it
ends (the sender is expelled, the journal is full, the room is reloaded, the process is killed) what was taken in is a
sound part of the whole, and the sender's next sync brings the rest. A sender that leaves by itself has sent all of it,
so all of it is taken in. Nothing is acknowledged before its last piece.

Order is kept for each connection: nothing else of the sender is read meanwhile. Called by `room`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from auth.permissions import Action
from collab_server.errors import Close, Refused
from collab_server.firewall import UpdateGap, UpdateRefused
from collab_server.rooms.leases import SetAside
from collab_server.rooms.offload import Offload
from collab_server.rooms.rebuild import turn_when_whole
from collab_server.update_split import Piece
from persistence.sandbox import SandboxFailed

if TYPE_CHECKING:
    from collab_server.rooms.member import Member
    from collab_server.rooms.room import Room


def take_in(room: Room, member: Member, update: bytes, offload: Offload, *, is_answer: bool, is_sync: bool) -> None:
    """Begin with `update` of `member`, and let its other messages wait until the end."""
    member.hold()
    room.taking_in += 1
    offload.tasks.start(_take_in(room, member, update, offload, is_answer, is_sync), "big-update")


async def _take_in(room: Room, member: Member, update: bytes, offload: Offload, is_answer: bool, is_sync: bool) -> None:
    try:
        pieces = await _checked(room, member, update, offload, is_answer)
        pieces = pieces and _allowed(room, member, update, pieces, is_sync=is_sync)
        await _find_place(room, pieces)
        if pieces and not member.expelled:
            async with turn_when_whole(room, offload):
                room.prepare_for(len(update))
        whole = True
        for piece in pieces:
            async with turn_when_whole(room, offload):
                if member.expelled:
                    return
                may_write = (
                    member.may(Action.WRITE_DOCUMENT) and not room.ruling.frozen
                )  # which one who left is not told
                whole &= may_write and room.edit_piece(member, piece)
        if pieces:
            room.took_in(member, whole=whole, is_answer=is_answer)
    except Refused as refusal:
        member.close(refusal)
    except Exception:  # a fault of ours costs this connection
        member.close(Refused(Close.ROOM_UNAVAILABLE))
        raise
    finally:
        member.go_on(time.monotonic())
        room.done_taking_in()


def _allowed(room: Room, member: Member, update: bytes, pieces: list[Piece], *, is_sync: bool) -> list[Piece]:
    """The pieces of what `member` may write under the client ids in it; none if that is not known yet."""
    ends = {client: end for piece in pieces for client, end in piece.ends}  # a client's pieces come in order
    try:
        if room.history is not None:
            room.history.check(member)
        member.writer.judge(is_sync)(tuple(ends.items()), room.clocks, len(update))
    except SetAside:
        room.leases.set_aside(member)
        return []
    except UpdateRefused as refused:
        raise room.refusal_of(member, refused.reason, update) from None
    return pieces


async def _find_place(room: Room, pieces: list[Piece]) -> None:
    """What would end half-way at the document's bound does not begin. Raises `Refused`."""
    news_bytes = sum(len(piece.update) for piece in pieces if piece.ends)  # what the room holds is in none of them
    if room.bounds.is_unsure(news_bytes):
        try:
            await room.renew_snapshot()
        except SandboxFailed as failure:
            raise Refused(Close.ROOM_UNAVAILABLE, "the document could not be measured: try again") from failure
    if room.bounds.refusal(news_bytes) is Close.DOCUMENT_FULL:
        raise Refused(Close.DOCUMENT_FULL)


async def _checked(room: Room, member: Member, update: bytes, offload: Offload, is_answer: bool) -> list[Piece]:
    """The pieces of `update`; none when it has a gap and its sender was asked for what is missing."""
    while True:
        known = room.clocks
        checked = await offload.check(update, known)
        if member.expelled:
            return []
        if checked.refused is not None:
            raise room.refusal_of(member, checked.refused, update)
        if checked.gap is None:
            return [Piece(*piece) for piece in checked.pieces]
        client, clock = checked.gap
        if room.clocks.get(client, 0) <= known.get(client, 0):  # nobody has closed the gap meanwhile
            room.second_look.set_aside(member, UpdateGap(client, clock), update, is_answer=is_answer)
            return []
