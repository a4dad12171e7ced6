"""The plan of the house: imports point one way, so that the folder list stays the architecture."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "metakg"

# A room may import from rooms of a lower floor, and from those of its own floor only where ALLOWED says so.
FLOORS = {
    "errors": 0,
    "types": 0,
    "rng": 0,
    "files": 0,
    "heap": 0,
    "nesting": 0,
    "session": 0,
    "threads": 0,
    "data": 1,
    "store": 1,
    "catalogue": 2,
    "readers": 2,
    "generator": 2,
    "splits": 2,
    "sample": 2,
    "losses": 2,
    "models": 2,
    "evaluation": 3,
    "explain": 3,
    "train": 4,
    "bundle": 5,
    "engine": 6,
    "comparison": 7,
    "serve": 7,
    "testing": 8,
    "experiments": 8,
    "report": 9,
    "cli": 10,
    "__main__": 11,
}
ALLOWED = {
    ("models", "losses"),
    ("models", "sample"),
    ("files", "errors"),
    ("files", "types"),
    ("nesting", "types"),
}


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            parts = node.module.split(".")
            if parts[0] == "metakg":
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.split(".")[1] for alias in node.names if (name := alias.name).startswith("metakg.")}
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{path}:{node.lineno}: a relative import hides the room; write metakg.<room>")
    return found


MODULES = sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert room in FLOORS, f"{room} is not in the plan; give it a floor"
    for other in rooms_imported(path) - {room, "__version__"}:
        assert FLOORS[other] < FLOORS[room] or (room, other) in ALLOWED, f"{room} must not import {other}"


def test_the_plan_names_only_rooms_that_exist() -> None:
    rooms = {p.name.removesuffix(".py") for p in SOURCE.iterdir() if p.suffix == ".py" or p.is_dir()}
    assert set(FLOORS) <= rooms, set(FLOORS) - rooms


def test_importing_metakg_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys, metakg; print([m for m in ('torch', 'numpy', 'pyarrow', 'duckdb', 'scipy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_every_public_name_resolves() -> None:
    import metakg

    for name in metakg.__all__:
        assert getattr(metakg, name) is not None
