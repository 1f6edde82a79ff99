"""Where documents live: the journal of updates, their checkpoints, object storage, the catalog, and migrations.

A leaf: it must know nothing of rooms, sockets, tokens or settings. Assembled by the server, the facade and commands.
"""
