"""`make load`: a scenario against a server of its own, with sign-in and a durable journal, started and stopped here.

Takes the options of `loadtests.run` but the address; that module loads a server that runs already.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from loadtests import run
from tests.services.server import ServerProcess
from tests.services.tokens import token


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="collab-load-") as folder:
        Path(folder).chmod(0o711)  # the embedded PostgreSQL of root runs as another user
        server = ServerProcess(Path(folder), auth="dev")
        with Console().status("starting a server"):
            server.start()
        try:
            return run.main([server.websocket_url, "--token", token(server, "load"), *sys.argv[1:]])
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
