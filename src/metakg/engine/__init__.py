"""The engine: external ids in, external ids out, and every answer says how it was made."""

from metakg.engine.answers import Way
from metakg.engine.engine import Engine, Fact, Found, Reached, Recommendation, fit, load
from metakg.engine.overlay import Clicks, Overlay

__all__ = ["Clicks", "Engine", "Fact", "Found", "Overlay", "Reached", "Recommendation", "Way", "fit", "load"]
