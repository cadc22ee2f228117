"""Exercises that name the mistake: a ladder of functions to write, and a diagnosis of what is wrong with them."""
