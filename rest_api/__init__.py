"""The companion facade over HTTP: today the playground page and the sign-in that development needs.

It must never hold live document state or speak WebSocket: that is `collab_server`. Called by `commands`.
"""
