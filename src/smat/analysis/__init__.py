"""What the experts of a pool learned: numbers from checkpoints and runs."""
