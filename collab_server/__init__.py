"""The WebSocket server: wire protocols, rooms, bus, admission, admin and life cycle."""
