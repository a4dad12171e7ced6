"""Recommenders: one file a model, its mathematics readable in one sitting; `registry` lists them by name."""
