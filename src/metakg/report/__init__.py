"""A run folder as a page: everything its rows say, and nothing else.

rows       `collect` reads rows and per-user results
sections   `sections` says which there are and in which order; `leaderboard`, `ablation`, `leak`, `sensitivity`, `efficiency`,
           `scalability`, `curves` and `parameters` each show what their namesake of `metakg.experiments` found (the
           leaderboard: `table3`), out of `blocks`
pictures   `charts` draws panels with `axes`, `marks` and `colours`; `figures` puts them together
report     `page` and `markdown` write it: one self-contained HTML file that needs no network, or a Markdown page with pictures
           beside it
"""

from metakg.report.collect import Runs, collect
from metakg.report.markdown import write_markdown
from metakg.report.page import write_page

__all__ = ["Runs", "collect", "write_markdown", "write_page"]
