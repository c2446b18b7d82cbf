"""The verbs over thousands of files: worker processes or a cluster, one row of results a file, resumable."""
