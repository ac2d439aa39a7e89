"""Tissue: masks, outlines, counts, and the regions laid over them."""
