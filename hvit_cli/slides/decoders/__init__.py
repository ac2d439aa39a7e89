"""Level pixels of a slide from the fastest library that decodes them exactly."""
