"""Kernels, laws and domains as declarations: parameters with their ranges, registries, formulas of repr."""
