"""The balancer alone, for tasks that somebody else starts: `compose.yaml` runs it from the server's own image.

    python -m cluster.balance --port 8081 server-1 server-2 server-3

Hosts are names or addresses; what they stand for is looked up at each connection, since containers change theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence

import uvloop

from cluster.balancer import Balancer, Target
from cluster.readiness import watch


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cluster.balance", description=__doc__.split("\n")[0])
    parser.add_argument("host", nargs="+", help="a task")
    parser.add_argument("--listen", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104  # nosec B104
    parser.add_argument("--port", type=int, default=8081, help="port to listen on (%(default)s)")
    parser.add_argument("--ws-port", type=int, default=8081, help="WebSocket port of each task (%(default)s)")
    parser.add_argument("--admin-port", type=int, default=8082, help="admin port of each task (%(default)s)")
    return parser.parse_args(arguments)


async def balance(chosen: argparse.Namespace) -> None:
    """Balance until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    targets = {Target(chosen.ws_port, host): chosen.admin_port for host in chosen.host}
    watching = asyncio.create_task(watch(targets))
    balancer = Balancer(list(targets), chosen.listen, chosen.port)
    await balancer.start()
    await stop.wait()
    watching.cancel()
    await balancer.close()


if __name__ == "__main__":
    uvloop.run(balance(options()))
