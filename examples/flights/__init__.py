"""Late flights: a model that is kept fresh on a year of real flights out of New York."""
