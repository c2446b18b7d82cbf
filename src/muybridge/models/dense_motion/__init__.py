"""How a clip moves, as one vector: histograms of optical flow, and a codebook of what they look like.

grey frames, flow ── descriptors.py: cells, blocks ── fisher_vector.py: one vector a clip
"""
