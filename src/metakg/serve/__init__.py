"""A service over HTTP: an engine, a store, and a page. Needs the extra `serve`.

fold.py      many events as one change of an engine
collect.py   data as they are after many events, for the next training
live.py      `Live`: the state that answers now; clicks at once, new items in the background, bundles swapped under way
answers.py   what an engine says, as JSON
pool.py      few threads, a bounded queue, a deadline
auth.py      keys and roles
limits.py    how much, how often, how long
gate.py      what every request passes before it is read
schemas.py   what may be sent
service.py   `Service`: what the routes share
routes/      what can be asked, a file for each subject
metrics.py   figures for Prometheus
logs.py      one JSON object a line
reference.py the routes as a page for people
app.py       `create_app`: all of it together
server.py    sockets, slow clients, starting and stopping

`fold`, `collect`, `live` and `answers` know nothing of the web.
"""
