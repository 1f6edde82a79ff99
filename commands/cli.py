"""The `collab-server` command: what people type. Each sub-command's work lives in a module of its own.

Those modules are imported when they are called: a help text must not wait for the whole server to load.
"""

from __future__ import annotations

from typing import Annotated

import typer

from auth.permissions import Role

app = typer.Typer(
    name="collab-server",
    help="Real-time collaboration server for Yjs documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def dev() -> None:
    """Run everything on this machine, with a playground page."""
    from commands.dev import run_dev

    run_dev()


@app.command()
def serve(
    allow_embedded: Annotated[
        bool, typer.Option("--allow-embedded", help="Start even on embedded parts or development sign-in.")
    ] = False,
) -> None:
    """Run the WebSocket server and its admin port (production)."""
    from commands.serve import run_serve

    run_serve(allow_embedded=allow_embedded)


@app.command()
def token(
    user: Annotated[str, typer.Option(help="Stable id of the person, e.g. alice.")],
    name: Annotated[str | None, typer.Option(help="Name others see; the id when left out.")] = None,
    document: Annotated[
        list[str] | None, typer.Option(help='Document it is for; "*" for all. May be repeated.')
    ] = None,
    role: Annotated[Role, typer.Option(help="What the person may do there.")] = Role.EDITOR,
    group: Annotated[list[str] | None, typer.Option(help="Group, e.g. admin. May be repeated.")] = None,
    expires_s: Annotated[float, typer.Option(min=1, help="Seconds until it expires.")] = 3600,
) -> None:
    """Print a token that a server with COLLAB_AUTH=dev on the same COLLAB_DATA_DIR accepts."""
    from commands.token import print_token

    print_token(user, name or user, document or [], role, group or [], expires_s)


@app.command()
def check_config(
    dev: Annotated[bool, typer.Option("--dev", help="As `collab-server dev` would see them.")] = False,
) -> None:
    """Print the effective settings, secrets masked; exit 2 when `serve` would refuse them."""
    from commands.check_config import print_config

    print_config(dev=dev)


@app.command()
def migrate(
    to: Annotated[str, typer.Option(help='Revision to go to: "head", "base", or a number such as 0001.')] = "head",
    down: Annotated[bool, typer.Option("--down", help="Go back: what the steps drop is gone.")] = False,
) -> None:
    """Migrate the database of COLLAB_DATABASE_URL."""
    from commands.migrate import run_migrate

    run_migrate(to, down=down)


def main() -> None:
    """Entry point of the distribution."""
    app()


if __name__ == "__main__":
    main()
