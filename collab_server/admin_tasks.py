"""The tasks of the cluster on the private port: how each is, and the drain of one of them.

A drained task ends as after SIGTERM, with exit code 0; whatever keeps a number of tasks running starts another. Must
never make one that drains already hurry. Part of `admin`, which guards the paths.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collab_server.admin_answers import Guard, answered, json_answer
from collab_server.cluster_rooms import Cluster
from collab_server.control import Body
from collab_server.heartbeat import Heartbeat
from collab_server.server import Server
from persistence.recorder import Recorder

log = structlog.get_logger(__name__)

REPORT, DRAIN = "tasks.report", "tasks.drain"
DISTRIBUTION = "collab-server"


class AdminTasks:
    """The paths below `/tasks`. `stop` is called once, to end this task in good order."""

    def __init__(
        self,
        cluster: Cluster,
        server: Server,
        recorder: Recorder,
        heartbeat: Heartbeat,
        stop: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._server = server
        self._recorder = recorder
        self._heartbeat = heartbeat
        self._stop = stop
        self._is_told = False
        self._began = time.monotonic()
        self._version = version(DISTRIBUTION)
        cluster.control.on_question(REPORT, self._report)
        cluster.control.on_question(DRAIN, self._drain_this)

    def routes(self, guard: Guard) -> list[Route]:
        """The paths, each behind `guard`."""
        return [
            Route("/tasks", guard(answered(self._tasks))),
            Route("/tasks/{task}/drain", guard(answered(self._drain)), methods=["POST"]),
        ]

    async def _tasks(self, _request: Request) -> Response:
        heard = await self._cluster.ask(REPORT, {})
        now, living = time.monotonic(), self._cluster.neighbours.living
        tasks = []
        for task in sorted({*living, *heard.by_task, *heard.silent}):
            known = living.get(task)
            tasks.append(
                {
                    "task": task,
                    "here": task == self._cluster.task_id,
                    "heard_s": 0.0 if known is None else round(now - known.heard_at, 1),
                    "speaks": None if known is None else sorted(known.speaks),
                    **heard.by_task.get(task, {"answered": False}),
                }
            )
        return json_answer({"tasks": tasks, **heard.gaps()})

    async def _drain(self, request: Request) -> Response:
        task = request.path_params["task"]
        if task != self._cluster.task_id and task not in self._cluster.neighbours.living:
            return json_answer({"error": "there is no such task: see /tasks"}, 404)
        heard = await self._cluster.ask(DRAIN, {"task": task, "by": request.state.operator}, of=[task])
        if task not in heard.by_task:
            return json_answer({"error": "the task did not answer: try again", **heard.gaps()}, 503)
        request.state.result = dict(heard.by_task[task])
        return json_answer({"task": task, **heard.by_task[task]}, 202)

    # What this task answers

    async def _report(self, _body: Body) -> Body:
        server, rooms = self._server, self._server.registry.rooms.values()
        return {
            "answered": True,
            "version": self._version,
            "up_s": round(time.monotonic() - self._began, 1),
            "draining": server.draining,
            "connections": len(server.connections),
            "members": sum(len(room.members) for room in rooms),
            "rooms": len(rooms),
            "journal_backlog_bytes": self._recorder.backlog_bytes,
            "loop_lag_max_s": round(self._heartbeat.longest_lately_s, 4),
            "rss_bytes": _resident_bytes(),
        }

    async def _drain_this(self, body: Body) -> Body:
        if body["task"] != self._cluster.task_id:
            return {}
        was_told, self._is_told = self._is_told or self._server.draining, True
        if not was_told:
            log.warning("drain_ordered", by=body["by"])
            asyncio.get_running_loop().call_soon(self._stop)
        return {"draining": True, "was_draining": was_told}


def _resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not say so."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
