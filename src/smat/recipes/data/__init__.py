"""The commands of image collections: import, look at, check, write episodes."""
