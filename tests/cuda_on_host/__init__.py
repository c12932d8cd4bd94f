"""CUDA code on machines without a GPU: see README.md."""
