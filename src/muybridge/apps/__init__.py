"""The command line and everything else a person starts. No knowledge of models."""
