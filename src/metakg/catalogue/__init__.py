"""Public data sets by name: where they lie, what they are for, under which terms, and how to fetch them whole.

entries.toml   what is known of each data set: source, sizes, checksums, licence, citation
entries.py     the same as checked, frozen objects
checksums.py   digests of files, git blob ids among them
download.py    one URL to one file: resumed, retried, verified
archive.py     members of a zip archive, without trusting it
fetch.py       one data set to one folder, with a lock file of what was seen

Nothing here knows what the files mean; that is the business of `metakg.readers`.
"""

from metakg.catalogue.entries import Entry, RemoteFile, Source, catalogue, find
from metakg.catalogue.fetch import FetchReport, FileReport, fetch

__all__ = ["Entry", "FetchReport", "FileReport", "RemoteFile", "Source", "catalogue", "fetch", "find"]
