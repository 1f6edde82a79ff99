"""Metric names and the log set-up: nowhere else.

Labels never carry a document name, a person or
a token. docs/operations.md lists every metric; a test compares.
"""

from __future__ import annotations

import logging
import sys
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

import orjson
import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from structlog.typing import EventDict, WrappedLogger

# Latencies from a fraction of a millisecond (one commit on a local disk) to the seconds of an outage.
LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
# From the loop's own timer precision (1 ms) over the promise that nothing stalls it for 50 ms to the watchdog's limit.
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

PRUNE_BUCKETS_S = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0)
TICK_BUCKETS_S = (0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads

REDACTED = frozenset({"token", "authorization", "ticket", "password", "secret"})


class Tally:
    """A count that only the event loop's thread touches: the library's own takes a lock, three times an update."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def inc(self, by: int = 1) -> None:
        """Count `by` more."""
        self.count += by


class Counter(Tally, Collector):
    """A tally with a name, read when somebody scrapes."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        super().__init__()
        self._name, self._text = name, text
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, self.count)


class Durations(Collector):
    """A histogram of seconds that only the event loop's thread touches: 0.2 us a value."""

    __slots__ = ("_buckets", "_counts", "_name", "_sum", "_text")

    def __init__(self, name: str, text: str, buckets: tuple[float, ...], registry: CollectorRegistry) -> None:
        self._name, self._text, self._buckets = name, text, buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._buckets, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text)
        bounds = [*map(str, self._buckets), "+Inf"]
        family.add_metric([], list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        yield family


class ByLabel(dict[str, Tally]):
    """A tally for each value of one label."""

    def __init__(self, name: str, text: str, label: str, registry: CollectorRegistry) -> None:
        super().__init__()
        registry.register(_Labelled(name, text, label, self))

    def __missing__(self, value: str) -> Tally:
        tally = self[value] = Tally()
        return tally


class _Labelled(Collector):
    def __init__(self, name: str, text: str, label: str, tallies: ByLabel) -> None:
        self._name, self._text, self._label = name, text, label
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for value, tally in self._tallies.items():
            family.add_metric([value], tally.count)
        yield family


class Metrics:
    """Every metric of one server process, in a registry of its own so that two servers can live in one test."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.connections = Gauge("collab_connections", "Open WebSocket connections.", registry=registry)
        self.rooms = Gauge("collab_rooms", "Rooms in memory.", registry=registry)
        self.members = Gauge("collab_members", "Members of all rooms.", registry=registry)
        self.tasks = Gauge("collab_tasks", "asyncio tasks of the event loop.", registry=registry)
        self.refusals = ByLabel("collab_refusals", "Clients refused before a seat.", "reason", registry)
        self.closes = ByLabel("collab_closes", "Connections this server ended.", "reason", registry)
        self.slow_members = Gauge(
            "collab_slow_members", "Members with more unsent bytes than the high-water mark.", registry=registry
        )
        self.cooling_down = Gauge(
            "collab_cooling_down", "People or addresses kept away after a flood.", registry=registry
        )
        self.outbox_bytes = Gauge("collab_outbox_bytes", "Unsent bytes of all connections.", registry=registry)
        self.unfinished_bytes = Gauge(
            "collab_unfinished_bytes", "Bytes of messages that have not come whole yet.", registry=registry
        )
        self.received = ByLabel("collab_messages", "Messages received from clients.", "kind", registry)
        self.edits = self.received["update"]
        self.denied = ByLabel("collab_denied", "Messages a role does not allow.", "kind", registry)
        self.updates = ByLabel("collab_updates", "Updates applied.", "source", registry)
        self.client_updates = self.updates["client"]
        self.update_bytes = Counter("collab_update_bytes", "Bytes of updates applied.", registry)
        self.updates_refused = ByLabel(
            "collab_updates_refused", "Updates the firewall or the CRDT refused.", "reason", registry
        )
        self.vouched = Counter("collab_vouched", "Updates with edits of somebody else, who was not there.", registry)
        self.gaps = ByLabel("collab_gaps", "Updates that needed something the room lacks.", "source", registry)
        self.awareness_refused = ByLabel("collab_awareness_refused", "Awareness entries refused.", "reason", registry)
        self.fell_behind = Counter("collab_fell_behind", "Times a member fell behind in reading.", registry)
        self.catch_ups = Counter("collab_catch_ups", "Diffs sent to members that had fallen behind.", registry)
        self.coalesced_updates = Counter(
            "collab_coalesced_updates", "Updates that were gathered into a common frame.", registry
        )
        self.tick_s = Histogram(
            "collab_coalescing_tick_seconds",
            "Length of the ticks in which updates were gathered.",
            buckets=TICK_BUCKETS_S,
            registry=registry,
        )
        self.awareness_limited = Counter(
            "collab_awareness_limited", "Awareness messages dropped because their sender sent too many.", registry
        )
        self.documents_large = Counter(
            "collab_documents_large", "Open documents that passed the soft bound of their size.", registry
        )
        self.rights_changes = ByLabel(
            "collab_rights_changes", "Seats that ended or changed because rights did.", "what", registry
        )
        self.rights_age_s = Gauge(
            "collab_rights_age_seconds", "Since when every seat's rights were looked up again.", registry=registry
        )
        self.renewals = ByLabel("collab_renewals", "Tokens that seated clients brought.", "outcome", registry)
        self.neighbours = Gauge("collab_neighbours", "Other tasks of the cluster that live.", registry=registry)
        self.rooms_handed_over = Counter(
            "collab_rooms_handed_over", "Rooms opened because a task that drains named them.", registry=registry
        )
        self.bus_refused = ByLabel("collab_bus_refused", "Messages of other tasks refused.", "reason", registry)
        self.bus_doubled = Counter(
            "collab_bus_doubled", "Bus messages that came twice because their sending had an unknown outcome.", registry
        )
        self.presence_behind = Gauge(
            "collab_presence_behind",
            "1 while the directory of who is where lacks what this task has to tell.",
            registry=registry,
        )
        self.divergences = ByLabel(
            "collab_divergences",
            "Copies found to differ between tasks, by what became of it.",
            "outcome",
            registry,
        )
        self.rooms_broken = Counter("collab_rooms_broken", "Copies of documents that broke in the CRDT.", registry)
        self.room_rebuilds = ByLabel(
            "collab_room_rebuilds", "Ends of broken copies: rebuilt, or given up with all members.", "outcome", registry
        )
        self.room_loads = Histogram(
            "collab_room_load_seconds",
            "Time to open a room from storage.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.room_load_failures = Counter("collab_room_load_failures", "Rooms that could not be opened.", registry)
        self.checkpoints = ByLabel("collab_checkpoints", "Checkpoints.", "outcome", registry)
        self.checkpoint_seconds = Histogram(
            "collab_checkpoint_seconds", "Time of one checkpoint.", buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self.edit_to_peer = Durations(
            "collab_edit_to_peer_seconds",
            "Time from acting on an edit until it is written to the other members.",
            LATENCY_BUCKETS_S,
            registry,
        )
        self.edit_to_durable = Durations(
            "collab_edit_to_durable_seconds",
            "Time from acting on an edit until its journal transaction has committed.",
            LATENCY_BUCKETS_S,
            registry,
        )
        self.checkpoints_unreadable = Counter(
            "collab_checkpoints_unreadable", "Checkpoints found missing or changed when they were read.", registry
        )
        self.documents_unloadable = Counter(
            "collab_documents_unloadable", "Loads refused because storage does not hold the whole document.", registry
        )
        self.unfolded_updates = Gauge(
            "collab_unfolded_updates", "Updates of open rooms that no checkpoint holds.", registry=registry
        )
        self.pruned = ByLabel("collab_pruned", "Rows, generations and orphan blobs let go of.", "kind", registry)
        self.prune_s = Histogram(
            "collab_prune_seconds", "Time of one pruning run.", buckets=PRUNE_BUCKETS_S, registry=registry
        )
        self.prune_failures = Counter("collab_prune_failures", "Pruning runs that failed or were cut short.", registry)
        self.oldest_row_s = Gauge(
            "collab_oldest_folded_row_seconds", "Age of the oldest folded row that could be pruned.", registry=registry
        )
        self.blobs_missing = Gauge(
            "collab_blobs_missing", "Blobs that kept generations name and the store has not.", registry=registry
        )
        self.blobs_ahead = Gauge(
            "collab_blobs_ahead", "Blobs of generations or documents the database does not know.", registry=registry
        )
        self.journal_backlog_bytes = Gauge(
            "collab_journal_backlog_bytes", "Bytes of edits not yet committed.", registry=registry
        )
        self.journal_oldest_pending_s = Gauge(
            "collab_journal_oldest_pending_seconds", "Age of the oldest edit not yet committed.", registry=registry
        )
        self.bus_dropped = Gauge(
            "collab_bus_dropped", "Envelopes dropped because the bus was behind.", registry=registry
        )
        self.dependency_up = Gauge("collab_dependency_up", "1 while a dependency answers.", ["name"], registry=registry)
        self.loop_lag_s = Histogram(
            "collab_loop_lag_seconds",
            "Delay of the event loop, measured every 100 ms.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.loop_lag_max_s = Gauge(
            "collab_loop_lag_max_seconds", "Longest delay of the event loop since the last scrape.", registry=registry
        )


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in REDACTED & event.keys():
        event[key] = "(redacted)"
    return event


def configure_logging(level: str, log_format: str) -> None:
    """Send structured logs of at least `level` to standard error, as JSON lines or for people (`console`)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    renderers: list[structlog.typing.Processor] = (
        # Plain tracebacks: rich ones print local variables, and those hold updates.
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if log_format == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard module: their warnings matter, their chatter does not.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # Its pool tells of every attempt with a traceback while PostgreSQL is away; health and the recorder say it once.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)


def _dump(event: EventDict, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
