"""The study: which of the paper's claims hold at a scale that two cores carry, and what is better at equal cost."""
