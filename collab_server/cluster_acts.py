"""What an operator does to a room on every task that holds it: kick, freeze, evict; and a checkpoint on one of them.

What must outlast a lost word is stored first (rulings), then said; a task that did not hear it reads it within seconds.
Each act tells what each task did. Must never drop a room whose edits are not durable. Called by `admin_acts`, which
audits them.
"""

from __future__ import annotations

from typing import Any

import structlog

from collab_server.admission import DOCUMENT_NAME
from collab_server.cluster_rooms import Cluster, ClusterRooms, Heard
from collab_server.control import Body
from collab_server.errors import Close, Refused
from collab_server.rooms.registry import Registry
from persistence.catalog import Catalog, Document
from persistence.rulings import Rulings

log = structlog.get_logger(__name__)

OBEY, EVICT, CHECKPOINT = "rooms.obey", "rooms.evict", "rooms.checkpoint"

Result = dict[str, Any]


class NoSuchDocument(Exception):
    """Nobody ever made a document of that name."""


class ClusterActs:
    """Acts on rooms of the whole cluster, and on this task's when another one asks. `fold_timeout_s` is what a
    checkpoint may take.
    """

    def __init__(
        self,
        cluster: Cluster,
        rooms: ClusterRooms,
        registry: Registry,
        catalog: Catalog,
        rulings: Rulings,
        fold_timeout_s: float,
    ) -> None:
        self._cluster = cluster
        self._rooms = rooms
        self._registry = registry
        self._catalog = catalog
        self._rulings = rulings
        self._fold_timeout_s = fold_timeout_s
        cluster.control.on_question(OBEY, self._obey)
        cluster.control.on_question(EVICT, self._evict)
        cluster.control.on_question(CHECKPOINT, self._checkpoint)

    # Each raises `NoSuchDocument`, and what a store raises that is away

    async def kick(self, document: str, subject: str, for_s: float, operator: str) -> Result:
        """Close every seat of `subject`, and give it none for so many seconds; 0 ends an earlier exclusion."""
        found = await self._find(document)
        await self._rulings.keep_out(found.id, subject, for_s, operator)
        return _told(await self._cluster.ask(OBEY, {"document": document, "kick": subject}))

    async def freeze(self, document: str, operator: str) -> Result:
        """Take no more edits of the document anywhere, until `unfreeze`."""
        found = await self._find(document)
        changed = await self._rulings.freeze(found.id, operator)
        return {"changed": changed} | _told(await self._cluster.ask(OBEY, {"document": document}))

    async def unfreeze(self, document: str) -> Result:
        """Take edits again."""
        found = await self._find(document)
        changed = await self._rulings.unfreeze(found.id)
        return {"changed": changed} | _told(await self._cluster.ask(OBEY, {"document": document}))

    async def evict(self, document: str) -> Result:
        """Move everyone off and drop the room on each task, once it is stored; who comes back loads it anew."""
        heard = await self._cluster.ask(EVICT, {"document": document}, longer_s=2 * self._fold_timeout_s)
        return _told(heard)

    async def checkpoint(self, document: str) -> Result:
        """Make one on one task: this one if it holds the room, else the one with most members."""
        holders, heard = await self._rooms.holders(document)
        if not holders:
            return _told(Heard({}, heard.silent, heard.cut_off))
        own = self._cluster.task_id
        task = own if own in holders else max(sorted(holders), key=lambda each: holders[each]["members"])
        body = {"document": document, "task": task}
        return _told(await self._cluster.ask(CHECKPOINT, body, of=[task], longer_s=self._fold_timeout_s))

    async def _find(self, document: str) -> Document:
        found = await self._catalog.find(document) if DOCUMENT_NAME.fullmatch(document) else None
        if found is None:
            raise NoSuchDocument
        return found

    # What this task does

    async def _obey(self, body: Body) -> Body:
        room = await self._registry.settled(body["document"])
        if room is None:
            return {}
        kicked = [member for member in room.members if member.identity.subject == body.get("kick")]
        await self._registry.overseer.look_at(room)
        for member in kicked:
            if not member.expelled:  # not kept out, so it may come back at once
                member.close(Refused(Close.CLOSED_BY_OPERATOR))
        return {"members": len(room.members), "frozen": room.ruling.frozen, "closed": len(kicked)}

    async def _evict(self, body: Body) -> Body:
        registry, name = self._registry, body["document"]
        room = await registry.settled(name)
        if room is None:
            return {}
        if not await registry.checkpoint(room):  # most of the work, while everyone still works on
            return {"evicted": False, "moved": 0, "why": "a checkpoint could not be made: try again"}
        if registry.rooms.get(name) is not room:
            return {"evicted": True, "moved": 0}  # it has gone by itself meanwhile
        moved = len(room.members)
        registry.let_go(room, Refused(Close.CLOSED_BY_OPERATOR))
        log.info("room_evicted", document_id=str(room.document.id), members=moved)
        await registry.checkpoint(room)  # of what was typed meanwhile; the journal has it in any case
        return {"evicted": True, "moved": moved}

    async def _checkpoint(self, body: Body) -> Body:
        room = self._registry.rooms.get(body["document"])
        if room is None or body["task"] != self._cluster.task_id:
            return {}
        stored = await self._registry.checkpoint(room)
        generation = None if room.last_checkpoint is None else room.last_checkpoint.generation
        return {"stored": stored, "generation": generation, "dirty_updates": room.dirty_updates}


def _told(heard: Heard) -> Result:
    return {"tasks": dict(sorted(heard.by_task.items())), **heard.gaps()}
