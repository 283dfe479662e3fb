"""Heads: from support features and labels to a classifier of features."""
