"""The eigenproblem and its solvers: what is minimised, operators, iterations, and the evidence for what they find.

To be read in this order::

    objective       the numbers of a fit
    groups          which views belong together, and the rotation to means and contrasts
    rotated_gram    the Gram matrix of a kernel in that basis
    exact           the solver of kernels, by krylov's iterations
    edges           the same with edges of a graph, or any T, in place of groups
    sums            the moments of features
    pencil          the solver of features
    certificate     the result, with the evidence for it
"""
