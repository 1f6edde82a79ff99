"""The sections of the private port that speak for the whole cluster, put together. Names no adapter. Called by
`assembly`."""

from __future__ import annotations

from collections.abc import Callable

from collab_server.admin_answers import Section
from collab_server.admin_rooms import AdminRooms
from collab_server.admin_tasks import AdminTasks
from collab_server.cluster_acts import ClusterActs
from collab_server.cluster_rooms import Cluster, ClusterRooms
from collab_server.control import Control
from collab_server.health import Health
from collab_server.heartbeat import Heartbeat
from collab_server.neighbours import Neighbours
from collab_server.server import Server
from persistence.catalog import Catalog
from persistence.recorder import Recorder
from persistence.rulings import Rulings


def cluster_sections(
    server: Server,
    control: Control,
    neighbours: Neighbours,
    health: Health,
    heartbeat: Heartbeat,
    recorder: Recorder,
    catalog: Catalog,
    rulings: Rulings,
    stop: Callable[[], None],
) -> list[Section]:
    """Rooms and tasks. `stop` ends this task in good order."""
    settings, registry = server.settings, server.registry
    cluster = Cluster(control, neighbours, settings.admin_answer_timeout_s, lambda: health.states["bus"].ok)
    rooms = ClusterRooms(cluster, registry)
    acts = ClusterActs(cluster, rooms, registry, catalog, rulings, settings.checkpoint_timeout_s)
    return [
        AdminRooms(rooms, acts),
        AdminTasks(cluster, server, recorder, heartbeat, stop),
    ]
