"""Ring 1: modules and pure functions on tensors. No files, no images, no configuration."""
