"""Batches: negatives, corrupted facts, episodes, receptive fields."""
