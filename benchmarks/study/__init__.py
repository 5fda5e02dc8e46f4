"""The study: which of the paper's claims hold at a scale that two cores carry, and which changes help at equal cost."""
