"""A service over HTTP: an engine, a store, and a page. Needs the extra `serve`."""
