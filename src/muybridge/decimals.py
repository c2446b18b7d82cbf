"""To how many decimals results are written: finer than they are known, and short to read."""

SECONDS = 3
SCORE = 4
PIXELS = 2
