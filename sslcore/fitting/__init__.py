"""From views to a representation: data, plans, fits, paths, the search for reg, and how all of it is saved.

To be read in the order of a fit::

    pretraining     the whole fit on one screen
    data            views, groups or positive pairs, checked once
    plan            memory and time, before anything is allocated
    problem         what a solver offers to fits, paths and the search
    paired          a kernel with a law of positive pairs; its folds are in paired_folds
    moments         the sums that features are solved by; of pairs by edge_sums
    search          reg="auto": its folds are in folds, their risk in held_out
    path            all reg and beta; crossings finds where levels avoid each other
    nested          fits to the first samples, for many numbers of them
    representation  the result; in words by summary, in files by codec, read by loading
"""
