"""One slide, one product: the steps that several commands share."""
