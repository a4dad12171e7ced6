"""Array aliases and the letters used for shapes throughout the package.

U users, I items, E entities (items are rows 0..I-1), R relations, B batch, C candidates, N negatives, T triples,
K neighbours (or the cut-off of a metric), D width, L layers, M tasks, S support, Q query.

Row numbers are int32 on disk and in memory: two billion rows are enough, and half the bytes is twice the speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]
"""Row numbers (internal ids), int32."""
Times = npt.NDArray[np.int64]
"""UTC seconds since 1970-01-01, int64."""
Floats = npt.NDArray[np.float32]
"""Scores, values, weights, float32."""
Mask = npt.NDArray[np.bool_]
"""Yes or no for each row."""
Json = dict[str, Any]
"""A JSON object."""
