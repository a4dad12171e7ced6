"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets (`last-fm`, `ml-100k`); METAKG_DATA names another place than the default."""
    folder = Path(os.environ.get("METAKG_DATA", ROOT.parent / "shared" / "datasets"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set METAKG_DATA to a folder with last-fm/ and ml-100k/")
    return folder
