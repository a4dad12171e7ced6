"""Files of many formats, checked and turned into one data set folder.

`read` loads, `prepare` writes a folder, `validate` only looks. A source module (tables, atomic, kgat, rdf, ...) knows one
format and leaves staged parts; `assemble` alone checks, filters, numbers and writes them.
"""

from metakg.readers.api import prepare, read, read_atomic, read_kgat, read_rdf, validate

__all__ = ["prepare", "read", "read_atomic", "read_kgat", "read_rdf", "validate"]
