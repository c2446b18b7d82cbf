"""How a clip moves, as one vector: histograms of optical flow, and a codebook of what they look like.

grey frames, flow ─┬─ descriptors.py: cells, blocks ── codebook.py: one vector a clip, of what moves in the picture
                   └─ camera.py: one vector a clip, of what the camera does
"""
