"""A local page on which a slide and its maps are looked at in deep zoom."""
