"""metakg: recommend from the first click, with a knowledge graph, and say why."""
