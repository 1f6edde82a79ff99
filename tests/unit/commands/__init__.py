"""Commands that need no server to be tested."""
