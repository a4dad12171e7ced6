"""`metakg doctor`: what is installed, what this machine has, and which settings a model knows."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from metakg.cli.common import JsonOption, print_json

if TYPE_CHECKING:
    from pydantic import BaseModel

EXTRAS = {
    "rdf": ("pyoxigraph",),
    "plot": ("vl_convert",),
    "tune": ("optuna",),
    "serve": ("fastapi", "uvicorn", "httptools", "sqlalchemy", "prometheus_client"),
    "postgres": ("psycopg",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
}
"""Extra -> modules that it brings; uvloop, which `serve` has where there is one, is not asked for."""
CORE = ("torch", "numpy", "scipy", "duckdb", "pyarrow", "pydantic", "safetensors", "typer", "rich")


def doctor(
    model: Annotated[str | None, typer.Argument(help="Show the settings of this model instead.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Show versions, extras and models, or the settings of one model."""
    if model is not None:
        _settings(model, as_json=as_json)
        return
    from metakg.errors import install
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
        typer.echo(f"  extra {name}: " + ("installed" if there else f"missing; {install(name)}"))
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
    for line in _lines(config, "  "):
        typer.echo(line)
    if model in TRAINING:
        for line in _lines(TRAINING[model](), "  training."):
            typer.echo(line)


def _choices(kind: Any) -> tuple[Any, ...]:
    """Return the values that a literal type allows, those of each part of a union."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(choice for part in get_args(kind) if get_origin(part) is Literal for choice in get_args(part))


def _lines(settings: BaseModel, prefix: str) -> Iterator[str]:
    """Yield every setting with its default and what it means; groups of settings are opened."""
    from pydantic import BaseModel

    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name == "kind":
            continue
        if isinstance(value, BaseModel):
            yield from _lines(value, f"{prefix}{name}.")
        else:
            others = [json.dumps(choice) for choice in _choices(field.annotation) if choice != value]
            yield f"{prefix}{name} = {json.dumps(value)}" + (f"   (or {', '.join(others)})" if others else "")
            yield "      " + " ".join((field.description or "").split())
