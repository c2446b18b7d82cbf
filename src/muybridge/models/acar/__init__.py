"""ACAR-Net (arXiv 2006.07976): who does what follows from who and what is around. `head.py` first."""
