"""`metakg`: one verb a command, one file a verb. Commands parse, call one function, and print."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from metakg import __version__
from metakg.cli.compare import compare
from metakg.cli.data import data
from metakg.cli.demo import demo
from metakg.cli.doctor import doctor
from metakg.cli.evaluate import evaluate
from metakg.cli.experiment import experiment
from metakg.cli.explain import explain
from metakg.cli.export import export
from metakg.cli.generate import generate
from metakg.cli.lists import lists
from metakg.cli.metapaths import metapaths
from metakg.cli.prepare import prepare
from metakg.cli.recommend import recommend
from metakg.cli.report import report
from metakg.cli.serve import keys, serve
from metakg.cli.split import split
from metakg.cli.store import store
from metakg.cli.train import train
from metakg.cli.tune import tune
from metakg.cli.validate import validate
from metakg.errors import MetakgError, is_out_of_memory

app = typer.Typer(
    name="metakg",
    help="Recommend from the first click, with a knowledge graph, and say why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS = (
    demo,
    generate,
    prepare,
    validate,
    split,
    metapaths,
    train,
    tune,
    evaluate,
    compare,
    experiment,
    report,
    recommend,
    lists,
    explain,
    export,
    serve,
    doctor,
)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(data, name="data", help="List and fetch public data sets.")
app.add_typer(keys, name="keys", help="Make keys for `metakg serve`.")
app.add_typer(store, name="store", help="Keep, move and mend what a service was told.")


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    """Recommend from the first click, with a knowledge graph, and say why."""
    if version:
        print(f"metakg {__version__}")
        raise typer.Exit


def run() -> None:
    """Run the command line; an error that metakg raises on purpose is one line on stderr and exit code 2."""
    try:
        app()
    except MetakgError as err:
        print(f"metakg: {type(err).__name__}: {err}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
        first = str(err).splitlines()[0] if str(err) else type(err).__name__
        fix = "Lower training.batch_size or the sizes that the model's settings name, or take a larger machine."
        print(f"metakg: memory: found too little ({first}); expected room for the run. {fix}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as err:
        if err.errno != errno.ENOSPC or err.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter would try to write the rest once more
        print("metakg: writing the output: found a full disk; expected free space. Write to another place.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
