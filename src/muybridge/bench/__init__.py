"""What this machine does with each part, against its reference, in one run."""
