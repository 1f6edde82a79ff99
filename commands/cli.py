"""The `collab-server` command. Each sub-command lives in a module of its own; none holds logic of the server."""

from __future__ import annotations

import typer

from commands import check_config, dev, migrate, serve, token

app = typer.Typer(
    name="collab-server",
    help="Real-time collaboration server for Yjs documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("dev")(dev.dev)
app.command("serve")(serve.serve)
app.command("token")(token.token)
app.command("check-config")(check_config.check_config)
app.command("migrate")(migrate.migrate)


def main() -> None:
    """Entry point of the distribution."""
    app()


if __name__ == "__main__":
    main()
