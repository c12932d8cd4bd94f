"""Whole experiments, each with its numbers and its figure."""
