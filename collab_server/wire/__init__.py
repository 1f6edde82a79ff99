"""Wire protocols: bytes to messages and back. Pure and bounded; knows no rooms, roles or connections."""
