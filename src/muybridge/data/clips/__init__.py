"""Labelled clips: lists and layouts of them, and how frames become a training sample."""
