"""A whole tuning: the stages, what each is told, and the recipe that comes out."""
