// The Walsh-Hadamard transform, in place.
//
// Formula   values[S] <- sum_x (-1)^popcount(x & S) values[x], unnormalised: a butterfly (a, b) <- (a + b, a - b) at
//           each of the distances 1, 2, 4, ... along the first axis.
// Shapes    values (2^d, c), C order.  One launch does `levels` of these distances: with the numbers seen as
//           (outer, 2^levels, distance), the first one is `distance` numbers in memory.
// Owner     A block of 256 threads owns a tile of 2^levels rows and `width` neighbouring columns (of `distance`), at
//           most 4096 numbers.  It is read into shared memory, transformed there, 16 numbers in a thread's registers at
//           a time, and written back.  The first launch has width = distance = c, so that its tiles lie in one piece;
//           in later ones rows are runs of 16 numbers or more.
// Bound by  Memory: each launch reads and writes all numbers once; 2^24 of them in one column take three (levels 12,
//           6, 6).  Of every 16 numbers in shared memory one place is left out: threads that read 16 numbers in a row,
//           or every 16th, then meet no bank twice.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define THREADS 256
#define TILE 4096

__device__ inline int padded(int i) { return i + i / 16; }

// LOG levels of a tile of `total` numbers: butterflies at the distances step, 2 step, ..., 2^(LOG - 1) step
template <int LOG>
__device__ inline void butterflies(real* tile, int total, int step) {
    const int size = 1 << LOG;
    for (int group = threadIdx.x; group < total / size; group += THREADS) {
        const int start = group / step * (step * size) + group % step;
        real v[size];
#pragma unroll
        for (int k = 0; k < size; ++k) v[k] = tile[padded(start + k * step)];
#pragma unroll
        for (int half = 1; half < size; half *= 2) {
#pragma unroll
            for (int k = 0; k < size; ++k) {
                if (k & half) continue;
                const real a = v[k], b = v[k + half];
                v[k] = a + b;
                v[k + half] = a - b;
            }
        }
#pragma unroll
        for (int k = 0; k < size; ++k) tile[padded(start + k * step)] = v[k];
    }
    __syncthreads();
}

extern "C" __global__ void walsh_hadamard(real* values, i64 distance, int levels, int width) {
    __shared__ real tile[TILE + TILE / 16];
    const i64 strips = (distance + width - 1) / width;
    const i64 outer = blockIdx.x / strips, column = blockIdx.x % strips * width;
    const int total = width << levels;
    real* own = values + (outer << levels) * distance + column;
    for (int i = threadIdx.x; i < total; i += THREADS) {
        const int row = i / width, j = i % width;
        tile[padded(i)] = column + j < distance ? own[row * distance + j] : (real)0;
    }
    __syncthreads();
    int step = width, left = levels;
    for (; left >= 4; left -= 4, step *= 16) butterflies<4>(tile, total, step);
    if (left == 3) butterflies<3>(tile, total, step);
    if (left == 2) butterflies<2>(tile, total, step);
    if (left == 1) butterflies<1>(tile, total, step);
    for (int i = threadIdx.x; i < total; i += THREADS) {
        const int row = i / width, j = i % width;
        if (column + j < distance) own[row * distance + j] = tile[padded(i)];
    }
}
