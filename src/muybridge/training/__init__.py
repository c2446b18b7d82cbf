"""Ring 3: the one training loop, and what each task hands to it."""
