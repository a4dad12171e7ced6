"""Training: the one loop, its batches, checkpoints, and adaptation to what arrives."""
