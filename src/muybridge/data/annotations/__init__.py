"""Boxes of people in videos: one table, and a file for each format that tools write."""
