"""Slide I/O: what a slide is, where its spacing comes from, and its pixels."""
