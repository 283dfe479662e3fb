"""What the experts of a pool learned, as a page, figures and tables."""
