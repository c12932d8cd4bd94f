"""Every number that trades time or memory and changes no result beyond rounding: sizes of blocks, tiles and tasks.

A name says who uses it, what it measures and, last, its unit: ``CPU_`` is the Numba backend, ``CUDA_`` the CuPy
backend, anything else a part of the library that runs on both.  Blocks of the parts are for the cache of a CPU;
a backend has them ``BLOCK_FACTOR`` times as large.  Each number is read when it is needed, so a change holds from the
next call on; those that compiled loops use are constants of the machine code, whose cache on disk is made anew where
any of these numbers was changed (`sslcore.backends.numba_cpu.compiling`).

Not here: tolerances and thresholds of accuracy, which belong to their algorithm; limits of what is accepted, which
belong to what they protect; the shapes of tiles and blocks of threads that a CUDA source or the width of a warp fixes.
"""

# ---------------------------------------------------------------- both backends

KERNEL_BLOCK_BYTES = 16 << 20
"""A block of kernel values on its way to somewhere else: it stays in the last-level cache."""

KERNEL_COMBINED_VALUES = 1 << 16
"""Values of two kernels that a task combines and checks on a CPU: half a MiB each, which stay in its cache."""

KERNEL_PRODUCT_COLUMNS = 8192
"""Most columns of a block of values that is multiplied: its rows are then many enough for a product's rate."""

KERNEL_PRODUCT_ROWS = 8192
"""Points that are checked, converted and multiplied by a kernel at a time: work for many threads, and few bytes."""

KERNEL_PREPARED_BYTES = 4 << 20
"""Rows of the first argument that are prepared at a time: copies of many coordinates would be large."""

KERNEL_PREPARED_ROWS = 32
"""Least number of such rows, however many coordinates they have: a matrix product needs as many."""

CONVOLUTION_TILE_PAIRS = 128, 1024
"""Rows and columns that are summed over patches while they stay in the cache of a processor."""

RISK_BLOCK_ENTRIES = 1 << 17
"""Entries of z in a block of the centred risks: 1 MiB in float64, which stays in the second-level cache."""

DIAGNOSTICS_BLOCK_ENTRIES = 1 << 17
"""Entries of an embedding in a block: 1 MiB in float64, which stays in the second-level cache."""

STANDARDIZATION_BLOCK_ENTRIES = 1 << 17
"""Values that are standardised at a time: 1 MiB in float64, which stays in the second-level cache."""

NEAREST_BLOCK_ENTRIES = 1 << 20
"""Distances of a block of samples and points: 8 MiB, which stay in the last-level cache."""

HELD_OUT_PRODUCT_VIEWS = 256
"""Views whose pairs are multiplied in one product: small beside what a block takes, large beside a call."""

EIGEN_SHORT_ROWS = 1024
"""Rows up to which an orthonormalisation is LAPACK's QR, which runs on one thread there anyway."""

ROTATION_LOOP_VIEWS = 4
"""Views of a sample up to which functions are rotated by loops over pairs of views: in a fourteenth of the time of a
general sum of products for two, a third for four; for eight it takes twice as long."""

KRYLOV_SPARE_COLUMNS = 4
"""Columns of a Krylov block beyond the wanted ones, at least: they hasten the last ones and tell the gap after them."""

KRYLOV_BASIS_COLUMNS = 128, 512
"""Columns of a Krylov basis before a restart: at least, and at most where that is four blocks or more."""

EXACT_FIRST_SAMPLES = 64
"""Samples whose block of the Gram matrix tells where an exact fit begins, of eight times as many or more: its
eigenproblem takes less time than a step."""

SWEEP_COLUMNS = 64
"""Columns of the blocks of several values of reg that are multiplied together: half the time of 9 columns for each."""

SWEEP_MOST_VIEWS = 4000
"""Views up to which values of reg are solved on two threads side by side: larger problems fill the threads of BLAS."""

SWEEP_TASK_COLUMNS = 60
"""Columns of the blocks that each of those threads multiplies together, about: three blocks of 20, or seven of 9."""

SWEEP_BASIS_COLUMNS = 80
"""Columns of a Krylov basis before a restart, where there are several bases side by side, or four blocks: LAPACK starts
no threads for a projected problem of that size."""

REDUCED_BASIS_COLUMNS = 60
"""Functions found at other values of reg that a beginning is combined of, or those of two values: LAPACK starts no
threads for that either."""

PIVOTED_BLOCK_COLUMNS = 256
"""Columns that a pivoted factor of low rank gains at a time: enough for products at full rate, few beside its rank."""

PIVOTED_CAST_COLUMNS = 64
"""Columns of a factor in float32 that are cast at a time where it works in float64: 26 MB for 50,000 contrasts."""

MATRIX_FREE_RANK_COLUMNS = 24
"""Columns of the factor that preconditions conjugate gradients, at most, in units of sqrt(N): of float32, whose memory
has room for half as many of float64.  Making them takes as long as some 15 products with K of 10 columns."""

MATRIX_FREE_CHEAP_COLUMNS = 4
"""Columns of that factor that are worth making beyond what is needed, in the same units: as long as two products, where
the values that are left fall fast enough to save many (Gaussian kernels: 27 products in place of 43)."""

MATRIX_FREE_COMBINED_COLUMNS = 64
"""Contrasts whose columns are made at a time from rows of K: 50 MB for 10^5 views."""

MATRIX_FREE_DIAGONAL_ROWS = 256
"""Views whose kernel values with each other are made for the diagonal: few beside N, many beside a call."""

MATRIX_FREE_COARSE_VIEWS = 2000
"""Views of the samples that are fitted first, to begin near the result: that takes as long as a few products."""

MATRIX_FREE_SLOW_STEPS = 100
"""Steps of conjugate gradients for one block from which a fit says that it is slow: with a good factor there are 10 to
30."""

MATRIX_FREE_MOST_PRODUCTS = 3000
"""Products with K after which a fit is given up: ten times as many as the hardest that had an end."""

MOMENTS_BLOCK_BYTES = 128 << 20
"""Features of a block of views whose moments are summed.  It is large because the threads of BLAS wait busily for some
30 ms after a product, in the way of our own tile loops: every change from one to the other costs that much on a
machine whose cores are all in use."""

MOMENTS_BLOCK_ROWS = 256, 16384
"""Least and most rows of such a block: enough for the full rate of a product."""

MOMENTS_SHIFT_ROWS = 1024
"""Rows, spread over the first block, about whose mean its rows are taken: all of them would be read once more."""

FEATURES_BLOCK_ROWS = 4096
"""Points whose features are made at a time for an embedding."""

FEATURES_CHUNK_ENTRIES = 1 << 18
"""Features of these that are multiplied at a time, in float64: 2 MiB, which stay in the second-level cache."""

DEVICE_BLOCK_BYTES = 64 << 20
"""Points of the host that go to a device at a time, while it works on those before."""

SYMMETRY_BLOCK_ENTRIES = 1 << 20
"""Entries of a given matrix that are compared with their mirror at a time: 8 MiB, as much for each of two copies."""

GRAM_CENTRING_BLOCK_ENTRIES = 1 << 16
"""Entries of a Gram matrix that are weighted or centred at a time: 512 KiB, three times as much with temporaries."""

# ---------------------------------------------------------------- the CPU: kernels

CPU_BLOCK_FACTOR = 1
"""How many times larger the blocks of both backends are: they are made for the cache of a CPU."""

CPU_DIFFERENCES_COORDINATES = 48
"""Coordinates up to which squared distances are sums of differences; above, a matrix product is faster."""

CPU_TASK_PAIRS = 1 << 16
"""Pair values of a task: about 0.1 ms, so that small problems stay on one thread."""

CPU_REGISTER_POINTS = 8
"""Points of x at a time: as many sums in registers, enough to hide the time that one operation takes."""

CPU_VECTOR_BYTES = 64
"""A vector of points of y, and where memory for results begins: the widest vectors that there are."""

CPU_TILE_COLUMNS = 512
"""Columns of a tile: the row of results and a few rows of y stay in the first-level cache."""

CPU_SYMMETRIC_TILE_COLUMNS = 256
"""Columns of a tile that is written twice: with 64 rows it stays in the second-level cache."""

CPU_PRODUCT_TILE_PAIRS = 16, 256
"""Rows and columns of a tile of values that is multiplied: it stays in the first-level cache, more or less."""

CPU_PRODUCT_MOST_COORDINATES = 96
"""Coordinates up to which tiles of values are made from our own products: the points of a tile stay in the second-level
cache.  With 64 it takes four fifths of the time of products by a BLAS, with 128 as much or more."""

CPU_PRODUCT_LEAST_ROWS = 32
"""Rows of values from which on it pays to lay out a thin block for our own products; fewer are a BLAS's."""

CPU_PRODUCT_STRIP_ROWS = 64
"""Rows whose products are summed along all columns: their sums, lane by lane, stay in the second-level cache."""

CPU_PRODUCT_BLOCK_POINTS = 512
"""Points of a block, at least, whose pairs with another are one task: 0.2 ms, and few partial sums.  With 256, for more
threads, products of 4,000 points took an eighth longer on one."""

CPU_PRODUCT_MOST_BLOCKS = 64
"""Blocks of points at most: enough pairs in a round for 32 threads, and few rounds, after each of which they wait.
Strips of rows against other points grow from as many on."""

CPU_PREFETCH_BYTES = 512
"""How far ahead a matrix is read that is multiplied by a thin block: 10 in place of 7 GB/s a thread, nearer or further
less."""

CPU_THIN_TILE_PAIRS = 60, 1024
"""Rows and columns of a matrix that are multiplied by all columns of a thin block before the next: they stay in the
second-level cache, their factors in the first.  Rows are a multiple of all numbers that are read side by side."""

CPU_THIN_STREAMS_ROWS = 8
"""Rows of a matrix that are read side by side for the product of its transpose: as many as prefetching follows."""

CPU_THIN_SYMMETRIC_PAIRS = 12, 256
"""Rows and columns of a tile of a symmetric matrix, which is read twice: it stays in the first-level cache."""

CPU_THIN_TASK_PRODUCTS = 1 << 20
"""Multiplications of a task of such a product: 0.06 ms, so that small ones stay on one thread."""

CPU_THIN_MOST_PARTS = 32
"""Parts of such a product at most: two for each of 16 threads."""

CPU_THIN_LEAST_PRODUCTS = 1 << 18
"""Multiplications from which on our own thin products are used: for fewer OpenBLAS starts no threads."""

CPU_THIN_MOST_COLUMNS = 24
"""Columns up to which a block is thin: of more a BLAS is as fast."""

CPU_THIN_LEAST_COLUMNS = 96
"""Columns of a part of a matrix, at least and as a unit, whose transpose a task multiplies: runs of memory."""

CPU_FACTOR_BLOCK_ROWS = 128
"""Rows of a factor that are found at a time: products with them run from the first two caches at the full rate, and
their corner, which one thread factorises, takes little."""

CPU_FACTOR_CACHED_ROWS = 64
"""Rows from which the products of those are subtracted at a time: the second-level cache keeps them."""

CPU_FACTOR_THREAD_PARTS = 3
"""Parts of the rows that are left for each thread, of which the longest come first: few calls, and even ends."""

CPU_FACTOR_LEAST_ROWS = 512
"""Rows from which on a matrix is factorised by our own threads."""

CPU_FACTOR_MOST_ROWS = 4096
"""Rows beyond which LAPACK factorises: 10,000 took it 4.1 s and us 4.9, and a tenth of a second is little then."""

CPU_LAPACK_MOST_ROWS = 12_288
"""Rows beyond which our own threads factorise again: OpenBLAS (0.2.8 to 0.3.30 at least, its issues 352, 1413 and 2562)
writes beyond its buffers and ends the process where a thread's share of a matrix in float64 is larger than some 8,192
rows: with two threads, from 16,384 rows on."""

CPU_SOLVE_BLOCK_ROWS = 480
"""Rows of a triangular factor that are solved for at a time, before others are multiplied on all threads."""

CPU_SOLVE_APART_ROWS = 4096
"""Rows of a factor up to which each thread reads all of it, for some of the columns, and none waits for another."""

CPU_SOLVE_APART_COLUMNS = 4
"""Columns that a thread then solves for, at least: for fewer reading takes longer than multiplying."""

CPU_SOLVE_CORNER_ROWS = 24
"""Rows of the corners on its diagonal that are solved number by number."""

CPU_ROTATION_VIEWS = 32
"""Views of a strip of samples whose rows are rotated by one task."""

CPU_ROTATION_TILE_VALUES = 4096
"""Kernel values of a tile that is rotated: with its two copies it stays in the first two caches."""

CPU_ROTATION_FEATURE_VALUES = 1 << 16
"""Values of features whose views are rotated by one task: 512 KiB, which stay in the second-level cache."""

CPU_BLAS_ALONE_PRODUCTS = 1 << 18
"""Multiplications of a matrix product up to which OpenBLAS starts no threads of its own (four times as many where it
has kernels for small matrices).  Products of ten columns take no longer in such pieces."""

CPU_BLAS_ALONE_COLUMNS = 24
"""Columns that such a piece is multiplied by at a time: with 57 in place of all of them the rate was 1.3 to 2 times as
high where the matrix has 2,000 rows, and for 10 the same."""

CPU_BLAS_ALONE_ROWS = 1024
"""Rows of such a piece, if products are with its transpose; else an eighth as many columns, and more rows."""

CPU_BLAS_ALONE_SIDE_ROWS = 32
"""Side of the squares on the diagonal of a matrix that is multiplied, or solved with, in such pieces: they are copied,
or worked on by plain loops, which takes little beside n."""

CPU_TURNED_COLUMNS = 16
"""Columns of a block that a block reflector turns at a time: its corner takes CPU_BAND_COLUMNS^2 products for each.  Of
60 columns of 1,500 (3,000) numbers, 3.4 ms (16) on two threads, where all at once took 7.1 (32) on one."""

CPU_STREAMED_BYTES = 8 << 20
"""Size from which a rotated matrix is written past the caches, in which it does not stay."""

CPU_BAND_COLUMNS = 48
"""Subdiagonals of the band that a symmetric matrix is reduced to: wide enough for the full rate of products, narrow
beside the matrix (for 2,000 rows 4.2 Cholesky factorisations with 48, 5.8 with 32, 4.0 with 64)."""

CPU_BAND_BLOCKED_COLUMNS = 8
"""Reflections that are applied to the columns after them at a time, and one by one among themselves."""

CPU_BAND_CACHED_ROWS = 96
"""Rows that are turned at a time: the second-level cache keeps their factors."""

# ---------------------------------------------------------------- the CPU: views, transforms, risks

CPU_DRAW_BLOCKS = 512
"""Blocks of random words made at a time: with their normals (24 KiB) they stay in the first-level cache."""

CPU_VIEW_COORDINATES = 1 << 16
"""Coordinates of views made at a time on one thread: 512 KiB in float64, which stay in the second-level cache, and
enough that the calls of a block, some 8 us, are a small part of the cheapest laws too."""

CPU_WALSH_BLOCK_NUMBERS = 1 << 15
"""A block, or a buffer, of a Walsh-Hadamard transform: 256 KiB in float64, well inside a second-level cache."""

CPU_WALSH_INNER_NUMBERS = 1 << 11
"""Part of such a block that stays in the first-level cache."""

CPU_WALSH_BUFFER_ROWS = 1 << 9
"""Most rows of a buffer: a strip is then 64 numbers wide, a few cache lines at a time."""

CPU_WALSH_TASK_STRIPS = 8
"""Strips that a thread takes at once."""

CPU_RISK_MINI_ROWS = 64
"""Rows (views) of a mini-block, unless one sample has more: with their results they stay in the second-level cache."""

CPU_RISK_BLOCK_ROWS = 1024
"""Rows of a block: what is copied at once if z must be.  Of 2 10^5 rows there are then three or four for each part, so
that 16 threads end at the same time."""

CPU_RISK_MOST_PARTS = 64
"""Parts of z, the unit that a thread takes: one block, or several so that their k x k sums stay few."""

# ---------------------------------------------------------------- CUDA

CUDA_BLOCK_FACTOR = 16
"""How many times larger the blocks of both backends are: a launch must be worth its overhead."""

CUDA_DIFFERENCES_COORDINATES = 8
"""Coordinates up to which squared distances are sums of differences; above, products take less time."""

CUDA_CUBLAS_COORDINATES = 512
"""Coordinates from which on cuBLAS multiplies, block by block, but for contrasts."""

CUDA_PRODUCT_ROWS = 2048
"""Rows of a block of products by cuBLAS: enough for its full rate."""

CUDA_PRODUCT_BYTES = 256 << 20
"""Size of such a block: wide enough for the full rate."""

CUDA_PRODUCT_BLOCKS = 512
"""Blocks of threads of a product with a thin block, at least, if there are points enough: work for any device."""

CUDA_PRODUCT_POINTS = 1024
"""Least number of points y whose sums a block of threads keeps for itself, before they are added to those of others."""

CUDA_COLUMN_BLOCKS = 1024
"""Blocks of threads along the rows where each thread goes down a column."""

CUDA_VIEW_COORDINATES = 1 << 24
"""Coordinates of views made at a time: an image's affine map reads from a copy of them."""

CUDA_WALSH_LEVELS = 8
"""Most levels of a launch after the first one, whose tiles then have runs of 16 numbers in memory."""

CUDA_PANEL_COLUMNS = 2048
"""Columns of a panel: wide enough for products at full rate, narrow enough for the factorisation of its corner."""

CUDA_INVERTED_ROWS = 256
"""Side of the blocks on a factor's diagonal that are inverted for whitening: products instead of short solves, at the
price of as many operations as a side is of the whole.  For 16384 rows and 4096 features in float32 an H200 took 7.6 ms
with 256, 7.8 with 512, 8.4 with 1024, and 9.5 for a triangular solve."""

CUDA_PIVOT_STEPS = 64
"""Steps of a pivoted factorisation between two products."""

CUDA_RISK_BLOCK_ENTRIES = 1 << 26
"""Entries of z in one block that is copied: 512 MiB in float64, and less where memory is short."""

CUDA_RISK_LEAST_ENTRIES = 1 << 24
"""Entries of such a block however little memory is left."""

CUDA_RISK_CHUNK_ROWS = 512
"""Rows of z in a chunk for second moments, at least.  Chunks are multiplied at the same time, so that there is work for
all multiprocessors: a product of 256 columns has tiles for three of them."""

CUDA_RISK_MOMENT_ENTRIES = 1 << 24
"""Entries of all second moments of chunks, at most, if there are several."""

CUDA_RISK_TILE_COLUMNS = 128
"""Columns of a product's tile in cuBLAS: a triangle of second moments is made of blocks of as many."""

CUDA_RISK_MOST_BLOCKS = 4096
"""Blocks of threads, each taking several samples in turn: enough for any device."""

# ---------------------------------------------------------------- population and files

CUBE_CHUNK_ENTRIES = 1 << 20
"""Entries of the orbits' matrices that are made at once: 8 MiB."""

CUBE_SUMS_NUMBERS = 1 << 22
"""Sums over windows that are made at once: 32 MiB."""

CUBE_RUNS_ENTRIES = 1 << 20
"""Running sums over places of pairs of points that are made at once: 2 MiB of two bytes each."""

CUBE_ENUMERATED_POINTS = 1 << 16
"""Points of the cube at which a kernel is evaluated at a time: a few MiB of coordinates."""

CUBE_COUNTED_VIEWS = 1 << 18
"""Views on the cube that are counted by their points at a time."""

CUBE_GIVEN_POINTS = 1 << 14
"""Points of the cube that a user's function is given at a time: it may need much memory for each."""

SPHERE_BLOCK_ENTRIES = 1 << 17
"""Pairs of centres in a block of zonal sums: 1 MiB for each of a few matrices, in the second-level cache."""

SPHERE_PROFILE_ENTRIES = 1 << 22
"""Coordinates of points on a great circle that are made at once: 32 MiB."""

CUBE_TILE_PAIRS = 256, 2048
"""Rows and columns of the pairs of centres at a time: their distances stay in the cache."""

TABLE_MAPPED_BYTES = 64 << 20
"""Size from which an ``.npy`` file is mapped, and read only where it is used."""

TABLE_PIECE_BYTES = 1 << 24
"""What is unpacked of a compressed table at a time, before its size is looked at again."""

ARCHIVE_PIECE_BYTES = 1 << 22
"""What is unpacked of an array in an archive at a time: no second copy of a large array arises."""

# ---------------------------------------------------------------- nested fits, learning curves

NESTED_MOST_VIEWS = 4000
"""Views up to which sizes of nested fits are solved side by side: larger problems fill the threads of BLAS, and need
the memory that others would take."""

NESTED_LEAST_SIZES = 16
"""Sizes from which on they are cut into two runs, the second of which begins anew: at the price of a few steps."""

NESTED_ROUNDED_VIEWS = 512
"""Views from which on steps are in float32 where they may be: smaller matrices stay in the second-level cache."""

NESTED_LEAST_SAMPLES = 200
"""Samples at which the products of a size's steps take as long as all else: what a size costs grows as n^2 + this^2.
Measured on two cores (half-moons, two views, 50 sizes of 30 to 1,000 samples): 2.0 ms + 48 ns n^2, equal at 203; sizes
from 100 on alone give 300.  All 50 take the same time, to 2 %, with any number up to 200, an eighth more with 400."""

CURVES_BLOCK_BYTES = 64 << 20
"""Values of the functions of all pretraining sizes at the downstream points that are worked on at a time."""

CURVES_PARTS = 7
"""Pretraining sizes whose functions are multiplied together: more of them have more rows that are not needed."""

# ---------------------------------------------------------------- streams

STREAM_LEAF_VIEWS = 1 << 14
"""Views of a leaf, the run of samples whose sums are one summand: adding sums of r x r entries costs a tenth of the
products then.  Sums depend on it in their last bits, and checkpoints name it."""

STREAM_NODE_PARTS = 4
"""Sums that a node of the tree of a deterministic stream adds: eight levels, each of which keeps one sum, for a billion
views.  On a cluster the sums of a task's leaves are added there as far as its nodes are whole, so that wide ones send
more."""

STREAM_READ_BYTES = 4 << 20
"""Bytes of a file that a thread reads at a time: the system copies them at the rate of one core."""

STREAM_PROBE_ROWS = 4096
"""Samples of a streamed probe that are worked on at a time: their outputs at one penalty stay in the cache."""

# ---------------------------------------------------------------- clusters

DASK_TASK_FLOPS = 10**11
"""Operations of a task, if there are leaves enough: most of a second, beside the milliseconds that a task costs."""

DASK_RUN_PARTS = 64, 320, 5120
"""Leaves of larger tasks, where there are tasks enough all the same: of 64 leaves up to 19 sums are left, of 320 and
5,120 up to 11, for groups that are held out begin and end whole nodes there."""

DASK_THREAD_PARTS = 8
"""Tasks for each thread of a cluster, at least, before tasks get the leaves of `DASK_RUN_PARTS`: the last ones to end
leave few threads idle.  Fewer leaves are cut by `DASK_SHARE_PARTS` on a cluster."""

DASK_COMING_THREADS = 64
"""Threads that tasks are cut for where a cluster has no worker yet: an adaptive one begins some when it has tasks, as
many as there are tasks for at most.  A task more costs it a millisecond."""

DASK_SHARE_PARTS = 2
"""Parts of what is left for each thread, one of which is the next task where tasks are small: the last have a leaf.
With three in place of two 56 leaves on two threads were 26 tasks in place of 18, and a third more sums travelled."""

DASK_SPARE_PARTS = 4
"""Sums whose memory waits for those of other leaves, at most, beside what tasks have: about those of a task."""

DASK_PRODUCT_STRIPS = 64
"""Strips of rows of a product with a kernel that runs on a cluster, at most: work for as many threads."""

DASK_STRIP_ROWS = 1024
"""Rows of such a strip, at least: with 10^5 points some 0.1 s, beside the millisecond that a task costs."""

# ---------------------------------------------------------------- looking at data

SPREAD_SAMPLES = 1024
"""Samples from which the spread of views is estimated: to some per cent, in milliseconds."""

SPREAD_BLOCKS = 16
"""Runs of neighbouring samples that these are taken from: a few calls, and not the beginning of the data alone."""

LOOK_SAMPLES = 1000
"""Samples whose distances, half a million, give the median that scales a kernel: to some per cent, in milliseconds."""
