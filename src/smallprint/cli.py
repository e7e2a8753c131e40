"""The terminal: one command per verb."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from smallprint.commands.data import doctor, new_ladder, read_data
from smallprint.commands.reading import diff_rungs, judge, ladders, report, show
from smallprint.commands.training import certify, climb, search
from smallprint.console import BAD_INPUT, DONE, say_fault
from smallprint.spec.errors import SmallprintError

app = typer.Typer(
    name="smallprint",
    help="Builds the smallest network that keeps its promise.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> NoReturn:
    """Run the command line; a user's mistake becomes one message and status 2."""
    try:
        app(prog_name="smallprint")
    except SmallprintError as fault:
        say_fault(str(fault))
        sys.exit(BAD_INPUT)
    except OSError as fault:  # a file or folder that no room answers for
        say_fault(f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault))
        sys.exit(BAD_INPUT)
    sys.exit(DONE)


def _version(asked: bool) -> None:
    if asked:
        from smallprint import __version__

        typer.echo(f"smallprint {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# In the order in which --help shows them.
for command, name in (
    (climb, "climb"), (search, "search"), (certify, "certify"), (show, "show"), (diff_rungs, "diff"), (judge, "judge"),
    (report, "report"), (read_data, "data"), (new_ladder, "new"), (ladders, "ladders"), (doctor, "doctor"),
):  # fmt: skip
    app.command(name)(command)
