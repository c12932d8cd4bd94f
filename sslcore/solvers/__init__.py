"""The eigenproblem and its solvers: what is minimised, operators, iterations, and the evidence for what they find."""
