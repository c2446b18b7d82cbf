"""The one training loop, for whatever objective it is given."""
