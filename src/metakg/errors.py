"""Every exception that metakg raises on purpose.

    MetakgError
      ConfigError            a setting is unknown, of the wrong type, or contradicts another
      DataError              a file or a table does not hold what it should
        EmptyFileError       a file holds nothing at all
        LeakageError         an answer (query pair) is visible to something that learns or ranks
      CheckpointError        a checkpoint or bundle is damaged, or belongs to other data
      StoreError             the store of a service cannot be reached, or holds what this version cannot use
      TrainingError          a run cannot go on
        NonFiniteLoss        a loss became NaN or infinite

Each one says four things: where, what was found, what was expected, and what to do next. A wrong *Python argument*
stays `ValueError` or `TypeError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MetakgError(Exception):
    """Base of all errors below; `str(error)` is one readable line.

    Args:
        where: the place: a file and line, a setting's name, a table and column.
        found: what is there.
        expected: what should be there.
        fix: the next step for the reader, as a sentence.
    """

    def __init__(self, where: str, found: str, *, expected: str, fix: str) -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.fix = fix
        super().__init__(f"{where}: found {found}; expected {expected}. {fix}")


class ConfigError(MetakgError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class DataError(MetakgError):
    """A file or a table does not hold what it should."""


class EmptyFileError(DataError):
    """A file holds nothing at all."""


class LeakageError(DataError):
    """An answer (query pair) is visible to something that learns or ranks."""


class CheckpointError(MetakgError):
    """A checkpoint or bundle is damaged, or belongs to other data."""


class StoreError(MetakgError):
    """The store of a service cannot be reached, or holds what this version cannot use."""


class TrainingError(MetakgError):
    """A run cannot go on."""


class NonFiniteLoss(TrainingError):  # noqa: N818 - the name users see in a log reads better without "Error"
    """A loss became NaN or infinite."""


def install(extra: str) -> str:
    """Return the command that installs an extra: from the clone, since no package index has metakg yet."""
    return f'pip install ".[{extra}]"'


def missing_extra(where: str, extra: str, err: ImportError) -> ConfigError:
    """Return the error that names the extra to install.

    Args:
        where: what needs it.
        extra: its name in `pyproject.toml`.
        err: what the import said.
    """
    fix = f"In the clone of metakg: {install(extra)}."
    found = f"no module {err.name}" if isinstance(err, ModuleNotFoundError) else str(err)  # it is there and does not load
    return ConfigError(where, found, expected=f"the extra `{extra}`", fix=fix)


def is_out_of_memory(err: BaseException) -> bool:
    """Say whether an error means that memory was too small: torch on a CPU has no kind of its own for that."""
    return isinstance(err, MemoryError) or type(err).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(err)


_WANTED = {
    "extra_forbidden": "a setting that there is",
    "missing": "a value",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a group of settings",
    "model_type": "a group of settings",
    "model_attributes_type": "a group of settings",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number from {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number up to {le}",
    "literal_error": "{expected}",
}


def complaint(error: Mapping[str, Any], found: str | None = None) -> tuple[str, str]:
    """Return what was found of a setting and what was expected, in words for people.

    A validator of ours says both, parted by "; ", or what is wrong alone.

    Args:
        error: one of pydantic's `ValidationError.errors()`.
        found: what to say was found, where no validator of ours says it; by default the value.
    """
    if error["type"] == "value_error":
        wrong, _, expected = str(error["msg"]).removeprefix("Value error, ").partition("; ")
        return wrong, expected or "settings that go together"
    template = _WANTED.get(error["type"])
    expected = str(error["msg"]) if template is None else template.format(**error.get("ctx", {}))
    return repr(error["input"]) if found is None else found, expected
