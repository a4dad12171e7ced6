"""Why an item is shown: typed paths from the user's own items, with their share of the score."""

from metakg.explain.paths import Explanation, Path, explain

__all__ = ["Explanation", "Path", "explain"]
