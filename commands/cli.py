"""The `collab-server` command: what people type. Each sub-command's work lives in a module of its own.

Those modules are imported when they are called: a help text must not wait for the whole server to load.
"""

from __future__ import annotations

from pathlib import Path
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
def cluster(
    tasks: Annotated[int, typer.Option(min=1, max=9, help="How many servers.")] = 3,
    rolling_restart_every: Annotated[
        float | None, typer.Option(min=1, help="Drain and start one after the other again, every so many seconds.")
    ] = None,
    s3_stand_in: Annotated[
        Path | None, typer.Option(help="A Python with ministack: checkpoints go to its S3 API, not to a directory.")
    ] = None,
) -> None:
    """Run several servers behind a balancer on this machine, with PostgreSQL, Redis and a page."""
    from commands.cluster import Asked, run_cluster

    run_cluster(Asked(tasks, rolling_restart_every, s3_stand_in.absolute() if s3_stand_in else None))


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


@app.command()
def chaos(
    target: Annotated[str, typer.Option(help="Who is broken: `ours`, or `hocuspocus` to compare.")] = "ours",
    url: Annotated[
        str | None, typer.Option(help="A running deployment instead, wss://HOST/ws: only clients are cut.")
    ] = None,
    token: Annotated[str | None, typer.Option(help="Token for --url; needs a role that writes.")] = None,
    document: Annotated[str | None, typer.Option(help="Document for --url; a new one when left out.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="How many rounds; about 3 minutes when left out.")] = None,
    faults: Annotated[
        str, typer.Option(help="Which, by comma, e.g. sigkill; all that are possible when left out.")
    ] = "",
    seed: Annotated[int | None, typer.Option(help="Of the schedule; random when left out, and printed.")] = None,
    python: Annotated[int, typer.Option(min=0, max=40, help="Clients in Python.")] = 3,
    javascript: Annotated[int, typer.Option(min=0, max=40, help="Stock clients in JavaScript.")] = 3,
    edits_per_s: Annotated[
        float | None, typer.Option(min=1, help="Of all clients together; 300, or 60 for a peer.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report there, for machines.")] = None,
) -> None:
    """Break a server on purpose while clients write; exit 0 when nothing that was acknowledged is lost."""
    from commands.chaos import Asked, run_chaos

    wanted = tuple(name.strip() for name in faults.split(",") if name.strip())
    run_chaos(Asked(target, url, token, document, rounds, wanted, seed, python, javascript, edits_per_s, json))


@app.command()
def restore(
    document: Annotated[str, typer.Argument(help="The public name of the document.")],
    generation: Annotated[int | None, typer.Option(min=1, help="The generation to go back to.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which generations there are, and change nothing.")] = False,
    discard_newest: Annotated[
        bool, typer.Option("--discard-newest", help="Go on though the newest state cannot be saved as a generation.")
    ] = False,
) -> None:
    """Make an older generation of a document its newest state. Running servers go on with it."""
    from commands.configuration import fail
    from commands.restore import run_restore

    if list_ == (generation is not None):
        fail("give either --generation N or --list")
    run_restore(document, generation, save_first=not discard_newest)


def main() -> None:
    """Entry point of the distribution."""
    app()


if __name__ == "__main__":
    main()
