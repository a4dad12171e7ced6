"""What several commands share: settings from the command line, folders by what they hold, and printing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from metakg.errors import ConfigError, DataError
from metakg.nesting import merged

if TYPE_CHECKING:
    from metakg.data import Dataset, Split
    from metakg.evaluation.evaluator import Shots

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else, for machines.")]
SeedOption = Annotated[int, typer.Option(min=0, help="The one number all randomness comes from.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A setting of the model; repeat for more. `metakg doctor MODEL` lists them."
    ),
]
SettingsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--settings",
        help="TOML file with one table of settings a model, or a folder of such; repeat for more, of which the later "
        "overrule the earlier, and --set all of them.",
    ),
]
SplitArgument = Annotated[
    Path, typer.Argument(help="A split folder (metakg split), or a data set folder to cut by the strict protocol.")
]


_SHOWN = 20
"""Unknown ids that are named."""
SPLIT_SEED = 1
"""Of the lots by which a data set folder is cut; other lots are asked of `metakg split`."""


def ids_in(file: Path, *, some: bool = True) -> list[str]:
    """Return the ids that a file holds, one a line, without blanks around them; with `some`, there must be one.

    Raises:
        DataError: the file cannot be read, or holds none.
    """
    try:
        found = [name for line in file.read_text(encoding="utf-8-sig").split("\n") if (name := line.strip())]
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(str(file), str(err), expected="ids, one a line, as UTF-8", fix="Check the path.") from err
    if some and not found:
        raise DataError(str(file), "no id", expected="ids, one a line", fix="Write some, or leave the option out.")
    return found


def value_of(text: str) -> Any:
    """Return the value that a text on the command line stands for: JSON where it reads as such, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def settings_from(pairs: list[str] | None) -> dict[str, Any]:
    """Return `["a=1", "b.c=x"]` as `{"a": 1, "b": {"c": "x"}}`; values are JSON where they read as such, else text.

    Raises:
        ConfigError: an entry has no `=`, or one key is given twice.
    """
    result: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError("--set", repr(pair), expected="KEY=VALUE", fix='For example: --set "walk.steps=4".')
        value = value_of(text)
        *path, last = key.split(".")
        place = result
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(
                    "--set", repr(pair), expected=f"{part!r} to be a group of settings", fix="Remove one of both."
                )
        if last in place:
            raise ConfigError("--set", f"{key!r} twice", expected="each setting once", fix="Remove one of them.")
        place[last] = value
    return result


def model_settings(files: Sequence[Path] | None, pairs: list[str] | None) -> dict[str, dict[str, Any]]:
    """Return settings by model name: TOML files with one table a model, or folders of them; `--set model.key=value` on top.

    What comes later overrules what came before, setting by setting.

    Raises:
        ConfigError: the file cannot be read, names an unknown model, or something in it is not a table of settings.
    """
    from metakg.models.registry import MODELS

    found: dict[str, dict[str, Any]] = {}
    for source in (*map(_toml, files or ()), settings_from(pairs)):
        for model, settings in source.items():
            if model not in MODELS:
                known = ", ".join(sorted(MODELS))
                raise ConfigError("settings", f"a model {model!r}", expected=f"one of {known}", fix="Check the spelling.")
            if not isinstance(settings, dict):
                raise ConfigError(
                    f"setting {model}", repr(settings), expected="MODEL.KEY=VALUE", fix="Name the model the setting belongs to."
                )
            found[model] = merged(found.get(model, {}), settings)
    return found


def settings_of(models: Sequence[str], files: Sequence[Path] | None, pairs: list[str] | None) -> dict[str, dict[str, Any]]:
    """Return the settings of the models asked for. A file may hold others too, `--set` may not: it would change nothing.

    Raises:
        ConfigError: as `model_settings`, or `--set` names a model that takes no part.
    """
    found = model_settings(files, pairs)
    for model in settings_from(pairs):
        if model not in models:
            raise ConfigError(
                "--set", f"a setting of {model}", expected=f"one of {', '.join(models)}", fix="Add it to --models."
            )
    return {name: settings for name, settings in found.items() if name in models}


def _toml(file: Path) -> dict[str, Any]:
    import tomllib

    if file.is_dir():
        found: dict[str, Any] = {}
        for part in sorted(file.glob("*.toml")):
            for model, settings in _toml(part).items():
                if model in found:
                    raise ConfigError(str(part), f"{model} again", expected="each model in one file", fix="Remove one of both.")
                found[model] = settings
        if not found:
            raise ConfigError(str(file), "no settings", expected="a folder with .toml files", fix="Check the path.")
        return found
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(str(file), str(err), expected="a settings file", fix="Check the path.") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(str(file), str(err), expected="TOML with one table a model", fix="Mend the line named here.") from err


def open_data(folder: Path) -> Dataset:
    """Open a data set folder, or the data set of a split folder.

    Raises:
        DataError: the folder holds neither.
    """
    from metakg.data import Dataset
    from metakg.splits.store import load

    return load(folder).dataset if _kind(folder) == "split" else Dataset.load(folder)


def open_split(folder: Path) -> Split:
    """Open a split folder; cut a data set folder by the strict protocol, by the same lots in every command.

    A `--seed` is the model's: whoever trains by one and judges by another asks about the same split.

    Raises:
        DataError: the folder holds neither.
    """
    from metakg.data import Dataset
    from metakg.splits import split
    from metakg.splits.store import load

    return load(folder) if _kind(folder) == "split" else split(Dataset.load(folder), protocol="strict", seed=SPLIT_SEED)


def _kind(folder: Path) -> Literal["split", "dataset"]:
    from metakg.files import read_json

    kind = read_json(folder / "manifest.json", what="split or data set manifest").get("kind")
    if kind not in ("split", "dataset"):
        raise DataError(
            str(folder),
            f"a folder of kind {kind!r}",
            expected="a split or a data set",
            fix='Make one with "metakg prepare" and "metakg split".',
        )
    found: Literal["split", "dataset"] = kind
    return found


def warn_of_unknown(names: Sequence[str]) -> None:
    """Say on the screen which ids are not known and count for nothing; of many, the first."""
    some = list(dict.fromkeys(names))
    if some:
        more = f" and {len(some) - _SHOWN:,} more" if len(some) > _SHOWN else ""
        typer.echo(f"ignored, since the bundle does not know them: {', '.join(some[:_SHOWN])}{more}", err=True)


def print_json(value: object) -> None:
    """Print one JSON value on one line, readable in any script."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def check_rules(mask: str | None, candidates: str) -> None:
    """Refuse rules of judging that there are not, before any work.

    Raises:
        ConfigError: one is unknown.
    """
    asked = (("--mask", mask, (None, "support", "support+train")), ("--candidates", candidates, ("all", "scenario")))
    for option, value, known in asked:
        if value not in known:
            expected = " or ".join(repr(rule) for rule in known if rule)
            raise ConfigError(option, repr(value), expected=expected, fix="Check the spelling.")


def chosen(scenarios: str) -> list[str] | Literal["all"]:
    """Return scenario names from "a,b" or "all"."""
    return "all" if scenarios == "all" else [name.strip() for name in scenarios.split(",")]


def shots_from(text: str | None) -> list[Shots] | None:
    """Return numbers of shots from "0,1,all"; None where nothing was asked.

    Raises:
        ConfigError: an entry is neither a number from 0 nor "all".
    """
    if text is None:
        return None
    result: list[Shots] = []
    for entry in text.split(","):
        name = entry.strip()
        if name != "all" and not name.isdecimal():
            raise ConfigError("--shots", repr(name), expected="numbers from 0, or 'all'", fix="For example: --shots 0,1,2,5,10")
        result.append("all" if name == "all" else int(name))
    return result
