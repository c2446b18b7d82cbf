"""Datasets, annotation formats and lists of clips."""
