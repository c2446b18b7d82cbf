"""ST-Adapter (arXiv 2206.13559): a frozen image model that reads time. `video_vit.py` first, then `module.py`."""
