"""Results for people: tables, pictures, charts, the HTML page, and the comparison with published results."""
