"""The engine: external ids in, external ids out, and every answer says how it was made."""

from metakg.engine.engine import Engine
from metakg.engine.opening import fit, load
from metakg.engine.overlay import Clicks, Overlay
from metakg.engine.results import Fact, Found, Reached, Recommendation
from metakg.explain import Way

__all__ = ["Clicks", "Engine", "Fact", "Found", "Overlay", "Reached", "Recommendation", "Way", "fit", "load"]
