"""Rooms: one live document each, its members, and what they exchange. The hot path."""
