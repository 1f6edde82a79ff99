"""Whether the server in this container lives: exit 0 when its admin port answers /healthz with 200, else 1.

Run by the image's HEALTHCHECK every few seconds, so it imports nothing of the server. It must never ask /readyz: a
dependency that is away is no reason to restart. Goes past any proxy that the environment names.
"""

import http.client
import os
import sys

TIMEOUT_S = 3  # below the HEALTHCHECK's own, so that the answer is ours


def lives(port: int) -> bool:
    """Whether a server on this machine answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not lives(int(os.environ.get("COLLAB_ADMIN_PORT") or 8082)))
