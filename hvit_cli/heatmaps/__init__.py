"""Heatmaps: from attention to values per patch, to a stitched raster, to a picture."""
