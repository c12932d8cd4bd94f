"""Benchmarks: ``python -m bench [name ...] [--quick] [--output FILE.json]``.

Each one first checks its result against an independent computation, then times it beside the alternative, taking
turns in the same run.  Modules: one per row of the table; `timing`, `rates`, `memory` and `report` measure and tell.
"""
