"""Ring 2: published evaluation protocols, as pure functions on arrays."""
