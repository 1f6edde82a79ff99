"""pycrdt-websocket behind uvicorn, in an environment of its own: `python pycrdt_server.py PORT`.

Its documentation names uvicorn and Hypercorn; uvicorn with uvloop is the faster. No store, no provider, no access log;
its own `exception_logger`, without which the first client that leaves at a bad moment ends the server.
Started by `servers`; imports nothing of ours.
"""

import sys

import uvicorn
import uvloop
from pycrdt.websocket import ASGIServer, WebsocketServer
from pycrdt.websocket.websocket_server import exception_logger


async def main(port: int) -> None:
    """Serve until killed."""
    async with WebsocketServer(exception_handler=exception_logger) as rooms:
        app = ASGIServer(rooms)
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
