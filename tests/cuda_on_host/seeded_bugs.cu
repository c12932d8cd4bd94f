// Kernels with a bug each, and their twins without: what the checking build must find, and must not (test_checker.py).
// All are launched as kernel<wrong>(x, out, n) with 2 blocks of 64 threads, x and out of 128 doubles, n = 128.

#define THREADS 64
typedef long long i64;

__device__ inline i64 my_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }

// ---- barriers

template <bool wrong>
__global__ void missing_barrier(const double* x, double* out, i64 n) {
    __shared__ double tile[THREADS];
    tile[threadIdx.x] = x[my_index()];
    if (!wrong) __syncthreads();
    out[my_index()] = tile[THREADS - 1 - threadIdx.x];
}

template <bool wrong>
__global__ void stale_tile(const double* x, double* out, i64 n) {  // the second pass overwrites what others still read
    __shared__ double tile[THREADS];
    double total = 0;
    for (i64 first = 0; first < n; first += THREADS) {
        tile[threadIdx.x] = x[first + threadIdx.x];
        __syncthreads();
        for (int k = 0; k < THREADS; ++k) total += tile[k];
        if (!wrong) __syncthreads();
    }
    out[my_index()] = total;
}

template <bool wrong>
__global__ void divergent_barrier(const double* x, double* out, i64 n) {
    __shared__ double tile[THREADS];
    tile[threadIdx.x] = x[my_index()];
    if (wrong) {
        if (threadIdx.x < 32) __syncthreads();
        else __syncthreads();
    } else {
        __syncthreads();
    }
    out[my_index()] = tile[0];
}

template <bool wrong>
__global__ void early_return(const double* x, double* out, i64 n) {
    __shared__ double tile[THREADS];
    const i64 i = my_index();
    if (wrong && i >= n - 3) return;
    tile[threadIdx.x] = i < n - 3 ? x[i] : 0;
    __syncthreads();
    if (i < n - 3) out[i] = tile[THREADS - 1 - threadIdx.x];
}

template <bool wrong>
__global__ void unequal_loops(const double* x, double* out, i64 n) {
    double total = 0;
    for (int k = 0; k < (wrong ? 1 + (int)threadIdx.x % 2 : 2); ++k) {
        total += x[my_index()];
        __syncthreads();
    }
    out[my_index()] = total;
}

template <bool wrong>
__global__ void tree_without_barrier(const double* x, double* out, i64 n) {
    __shared__ double tile[THREADS];
    tile[threadIdx.x] = x[my_index()];
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) tile[threadIdx.x] += tile[threadIdx.x + half];
        if (!wrong || half > 32) __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = tile[0];
}

// ---- bounds

template <bool wrong>
__global__ void read_past_end(const double* x, double* out, i64 n) {
    const i64 i = my_index();
    out[i] = i + (wrong ? 1 : 0) <= n - (wrong ? 0 : 1) ? x[wrong ? i + 1 : i] : 0;
}

template <bool wrong>
__global__ void write_past_end(const double* x, double* out, i64 n) {
    out[my_index() + (wrong ? 1 : 0)] = 1;
}

template <bool wrong>
__global__ void missing_guard(const double* x, double* out, i64 n) {
    const i64 i = my_index() + 32;
    if (wrong || i < n) out[i] = 1;
}

template <bool wrong>
__global__ void negative_index(const double* x, double* out, i64 n) {
    const i64 i = my_index();
    out[i] = x[wrong || i > 0 ? i - 1 : 0];
}

template <bool wrong>
__global__ void shared_overflow(const double* x, double* out, i64 n) {
    __shared__ double tile[THREADS];
    __shared__ double other[THREADS];
    other[threadIdx.x] = 0;
    double* p = tile;
    p[threadIdx.x + (wrong ? 1 : 0)] = x[my_index()];
    __syncthreads();
    out[my_index()] = p[threadIdx.x + (wrong ? 1 : 0)] + other[threadIdx.x];
}

template <bool wrong>
__global__ void row_overflow(const double* x, double* out, i64 n) {  // within the tile, but in the next row
    __shared__ double tile[8][9];
    const int row = threadIdx.x / 8, column = threadIdx.x % 8;
    tile[row][column] = x[my_index()];
    if (column == 0) tile[row][8] = 0;
    __syncthreads();
    out[my_index()] = row < 7 ? tile[row][column + (wrong ? 2 : 1)] : 0;
}

template <bool wrong>
__global__ void dynamic_overflow(const double* x, double* out, i64 n) {
    extern __shared__ double buffer[];
    buffer[threadIdx.x] = x[my_index()];
    __syncthreads();
    out[my_index()] = buffer[(threadIdx.x + 1) % (wrong ? THREADS + 1 : THREADS)];
}

template <bool wrong>
__global__ void narrow_index(const double* x, double* out, i64 n) {  // 65536 * 65536 in 32 bits
    const int rows = (int)n * 512;
    const i64 last = wrong ? (i64)(rows * rows) - 1 : (i64)rows * rows - 1;
    out[my_index()] = (double)last;
}

template <bool wrong>
__global__ void unsigned_wrap(const double* x, double* out, i64 n) {
    const unsigned before = threadIdx.x + blockIdx.x * blockDim.x - 1;  // 2^32 - 1 for the first thread
    out[my_index()] = wrong || before < n ? x[before] : 0;
}

// ---- races

template <bool wrong>
__global__ void race_between_blocks(const double* x, double* out, i64 n) {
    if (threadIdx.x == 0) out[wrong ? 0 : blockIdx.x] = blockIdx.x;
}

template <bool wrong>
__global__ void block_reads_block(const double* x, double* out, i64 n) {
    const i64 i = my_index();
    out[i] = x[i];
    if (wrong && blockIdx.x == 1) out[i] += out[i - THREADS];
}

template <bool wrong>
__global__ void plain_accumulation(const double* x, double* out, i64 n) {
    if (wrong) out[0] += x[my_index()];
    else atomicAdd(out, x[my_index()]);
}

template <bool wrong>
__global__ void half_atomic(const double* x, double* out, i64 n) {
    atomicAdd(out, x[my_index()]);
    if (wrong && threadIdx.x == 0) out[n - 1] = out[0];
}

template <bool wrong>
__global__ void two_writers(const double* x, double* out, i64 n) {
    out[(i64)blockIdx.x * THREADS + (wrong ? threadIdx.x / 2 : threadIdx.x)] = 1;
}

// ---- warps

template <bool wrong>
__global__ void shuffle_mask(const double* x, double* out, i64 n) {
    double v = x[my_index()];
    if (threadIdx.x % 32 < 16) v += __shfl_down_sync(wrong ? 0xffffffffu : 0xffffu, v, 8, 16);
    out[my_index()] = v;
}

template <bool wrong>
__global__ void shuffle_source(const double* x, double* out, i64 n) {
    double v = x[my_index()];
    if (threadIdx.x % 32 < 16) v = __shfl_xor_sync(0xffffu, v, wrong ? 16 : 8);
    out[my_index()] = v;
}

template <bool wrong>
__global__ void warp_without_sync(const double* x, double* out, i64 n) {
    __shared__ double tile[THREADS];
    tile[threadIdx.x] = x[my_index()];
    if (!wrong) __syncwarp();
    out[my_index()] = tile[threadIdx.x ^ 1];
}

template <bool wrong>
__global__ void shuffle_is_no_fence(const double* x, double* out, i64 n) {
    __shared__ double tile[THREADS];
    tile[threadIdx.x] = x[my_index()];
    const double v = __shfl_sync(0xffffffffu, x[my_index()], 0);
    if (!wrong) __syncwarp();
    out[my_index()] = tile[threadIdx.x ^ 1] + v;
}

// ---- values that are not there, addresses that are wrong

template <bool wrong>
__global__ void uninitialised_shared(const double* x, double* out, i64 n) {
    __shared__ double total[4];
    if (threadIdx.x < (wrong ? 3 : 4)) total[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[my_index()] = total[threadIdx.x % 4];
}

template <bool wrong>
__global__ void uninitialised_accumulator(const double* x, double* out, i64 n) {
    __shared__ double total;
    if (!wrong && threadIdx.x == 0) total = 0;
    __syncthreads();
    atomicAdd(&total, x[my_index()]);
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] = total;
}

template <bool wrong>
__global__ void write_to_input(const double* x, double* out, i64 n) {
    const i64 i = my_index();
    if (wrong) ((double*)x)[i] = 0;
    out[i] = x[i];
}

template <bool wrong>
__global__ void misaligned_vector(const double* x, double* out, i64 n) {
    const i64 i = my_index();
    const double2 pair = i < n / 2 - 1 ? *(const double2*)(x + 2 * i + (wrong ? 1 : 0)) : make_double2(0, 0);
    out[i] = pair.x + pair.y;
}

template <bool wrong>
__global__ void wild_shift(const double* x, double* out, i64 n) {
    out[my_index()] = 1 << (threadIdx.x % (wrong ? 33 : 31));
}

template <bool wrong>
__global__ void registers_overflow(const double* x, double* out, i64 n) {
    double kept[4];
    for (int k = 0; k < (wrong ? (int)(n / 25) : 4); ++k) kept[k] = x[(my_index() + k) % n];
    out[my_index()] = kept[threadIdx.x % 4];
}
