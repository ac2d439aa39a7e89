"""Synthetic biopsies, drawn for demonstration, and the model that was trained on them."""
