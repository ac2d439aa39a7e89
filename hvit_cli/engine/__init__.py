"""How a run is spread over slides, and what happens when one of them fails."""
