"""What people type: `collab-server dev`, `serve`, `token`, `check-config`, `migrate`."""
