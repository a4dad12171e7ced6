"""What can be asked. Each route checks nothing but its own meaning: who asks, how much and how fast is `gate`'s business.

common.py      what the routes share
recommend.py   what to show
feedback.py    what users did
explain.py     why an item is shown
items.py       items, and the search for them
users.py       users
facts.py       facts of the knowledge graph
operations.py  the service itself, for whoever runs it

Engine calls run in `Service.pool`, so that the event loop stays free. Answers are written as bytes by `answers`, not checked
again on the way out: the schemas describe them, and a test compares.
"""

from metakg.serve.routes import explain, facts, feedback, items, operations, recommend, users

ROUTERS = (
    recommend.router,
    feedback.router,
    explain.router,
    items.router,
    users.router,
    facts.router,
    operations.router,
)
"""In the order of the description of the interface, which people read from the top."""

__all__ = ["ROUTERS"]
