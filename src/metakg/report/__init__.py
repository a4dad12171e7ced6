"""A run folder as a page: everything its rows say, and nothing else.

`collect` reads rows and per-user results, `charts` draws, `sections` says what stands in which section, `page` and `markdown`
write it: one self-contained HTML file that needs no network, or a Markdown page with pictures beside it.
"""

from metakg.report.collect import Runs, collect
from metakg.report.markdown import write_markdown
from metakg.report.page import write_page

__all__ = ["Runs", "collect", "write_markdown", "write_page"]
