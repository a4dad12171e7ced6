"""`metakg doctor`: what is installed, what this machine has, and which settings a model knows."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from typing import Annotated

import typer

from metakg.cli.common import JsonOption, print_json

EXTRAS = {"rdf": ("pyoxigraph",), "plot": ("altair", "vl_convert")}
CORE = ("torch", "numpy", "scipy", "duckdb", "pyarrow", "pydantic", "safetensors", "typer", "rich")


def doctor(
    model: Annotated[str | None, typer.Argument(help="Show the settings of this model instead.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Show versions, extras and models, or the settings of one model."""
    if model is not None:
        _settings(model, as_json=as_json)
        return
    from metakg.models.registry import FLOORS, MODELS

    extras = {name: all(importlib.util.find_spec(m) is not None for m in modules) for name, modules in EXTRAS.items()}
    state = {
        "metakg": importlib.metadata.version("metakg"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: importlib.metadata.version(name) for name in CORE},
        "extras": extras,
        "models": sorted(MODELS),
        "floors": list(FLOORS),
    }
    if as_json:
        print_json(state)
        return
    typer.echo(f"metakg {state['metakg']}, Python {state['python']}, {state['machine']}")
    typer.echo("  " + "  ".join(f"{name} {importlib.metadata.version(name)}" for name in CORE))
    for name, there in extras.items():
        typer.echo(f"  extra {name}: " + ("installed" if there else f'missing; pip install "metakg[{name}]"'))
    typer.echo("models: " + ", ".join(sorted(MODELS)))
    typer.echo("settings of one: metakg doctor MODEL")


def _settings(model: str, *, as_json: bool) -> None:
    from metakg.models.registry import config_for
    from metakg.train.fit import TRAINING

    config = config_for(model)
    kind = type(config)
    if as_json:
        print_json(kind.model_json_schema())
        return
    typer.echo(f"{model}: {(kind.__doc__ or '').strip().splitlines()[0]}")
    for name, field in kind.model_fields.items():
        if name != "kind":
            typer.echo(f"  {name} = {getattr(config, name)!r}\n      {field.description or ''}")
    if model in TRAINING:
        for name, field in TRAINING[model].model_fields.items():
            typer.echo(f"  training.{name} = {field.default!r}\n      {field.description or ''}")
