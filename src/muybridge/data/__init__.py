"""Ring 2: datasets, annotation formats and the procedural stage."""
