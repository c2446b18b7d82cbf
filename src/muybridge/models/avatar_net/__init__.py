"""Avatar-Net (arXiv 1805.03857): any style in one pass. `network.py` first, then `patch_swap.py`."""
