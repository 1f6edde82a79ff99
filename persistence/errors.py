"""What every store of this package may answer when it cannot do its job.

Ports raise these so that nobody above them needs to know asyncpg or boto3. Must never import a driver.
Called by every port and adapter of `persistence`, and by whoever must tell "try again" from "never".
"""


class StorageUnavailable(Exception):
    """The store cannot be reached, or cannot answer now: the same call may succeed later."""
