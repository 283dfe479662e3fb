"""From image collections as their authors distribute them to domains on disk."""
