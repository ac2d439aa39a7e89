"""The three levels of the model: patch encoder, region Transformer, slide Transformer."""
