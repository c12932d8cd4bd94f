// Small companions of cuBLAS and cuSOLVER on square matrices.
//
// mirror          out[j][i] <- out[i][j] for i < j: C order, n x n.  A block of 32 x 8 threads owns a tile of 32 x 32
//                 on or above the diagonal, and stores its transpose through shared memory.  Bound by memory.
// put_upper       the upper triangle of a panel (n x n, Fortran order) into that of a matrix with leading dimension ld;
//                 one thread an entry.  A factorisation in place must leave the lower triangle as it is.
// symmetric_tile  panel (n x n) <- the symmetric matrix with the strict lower triangle of a (Fortran order, leading
//                 dimension ld) and this diagonal; one thread an entry.
// add_upper       total <- total + factor product on and above the diagonal, n x n in Fortran order, total in double;
//                 one thread a row of some columns.  Bound by memory.
// choose_pivot    one step of a pivoted Cholesky factorisation, part 1, by one block: the largest residual diagonal
//                 entry, if it is above the tolerance; else the number of steps is settled and all later ones do
//                 nothing.
// pivot_row       part 2: row `step` of the factor U (n x n, C order, zero before),
//                 U[step][j] = (a[p][j] - sum_s U[s][p] U[s][j]) / sqrt(pivot) over the rows s of the panel that begins
//                 at `start` (those before are subtracted from a already), and the residual diagonal.  One thread a
//                 column j.  Nothing is exchanged: columns stay in the caller's order, pivots tell how to sort them.
//                 Bound by the latency of n steps.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define SIDE 32
#define LINES 8
#define THREADS 256

extern "C" __global__ void mirror(real* out, i64 n) {
    __shared__ real tile[SIDE][SIDE + 1];
    if (blockIdx.x < blockIdx.y) return;
    const int tx = threadIdx.x, ty = threadIdx.y;
    const i64 i0 = (i64)blockIdx.y * SIDE, j0 = (i64)blockIdx.x * SIDE;
    for (int s = ty; s < SIDE; s += LINES) {
        const i64 i = i0 + s, j = j0 + tx;
        tile[s][tx] = (i < n && j < n) ? out[i * n + j] : (real)0;
    }
    __syncthreads();
    for (int s = ty; s < SIDE; s += LINES) {
        const i64 j = j0 + s, i = i0 + tx;
        if (i < n && j < n && i < j) out[j * n + i] = tile[tx][s];
    }
}

extern "C" __global__ void put_upper(const real* panel, i64 n, real* out, i64 ld) {
    const i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n * n) return;
    const i64 row = t % n, column = t / n;
    if (row <= column) out[column * ld + row] = panel[t];
}

extern "C" __global__ void add_upper(const real* product, i64 n, double factor, double* total) {
    const i64 row = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    for (i64 column = blockIdx.y; column < n; column += gridDim.y)
        if (row <= column) total[column * n + row] += factor * (double)product[column * n + row];
}

extern "C" __global__ void symmetric_tile(const real* a, i64 ld, const real* diagonal, i64 n, real* panel) {
    const i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n * n) return;
    const i64 row = t % n, column = t / n;
    panel[t] = row == column ? diagonal[row] : row > column ? a[column * ld + row] : a[row * ld + column];
}

// settled: the number of steps once it is known, else -1.  residual: of columns not yet chosen, >= 0; of others -1.
extern "C" __global__ void choose_pivot(const double* residual, i64 n, double tolerance, i64 step, i64* pivots,
                                        double* values, int* settled) {
    __shared__ double best[THREADS];
    __shared__ i64 where[THREADS];
    const int t = threadIdx.x;
    if (*settled >= 0) return;
    double largest = -1;
    i64 at = 0;
    for (i64 j = t; j < n; j += THREADS) {
        if (residual[j] > largest) {
            largest = residual[j];
            at = j;
        }
    }
    best[t] = largest;
    where[t] = at;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) {
            const double other = best[t + half];
            if (other > best[t] || (other == best[t] && where[t + half] < where[t])) {
                best[t] = other;
                where[t] = where[t + half];
            }
        }
        __syncthreads();
    }
    if (t == 0) {
        if (best[0] > tolerance) {
            pivots[step] = where[0];
            values[step] = best[0];
        } else {
            *settled = (int)step;
        }
    }
}

extern "C" __global__ void pivot_row(const double* a, i64 n, i64 start, i64 step, const i64* pivots,
                                     const double* values, double* factor, double* residual, const int* settled) {
    const i64 j = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (*settled >= 0 || j >= n || residual[j] < 0) return;
    const i64 p = pivots[step];
    const double pivot = sqrt(values[step]);
    double value = pivot;
    if (j != p) {
        value = a[p * n + j];
        for (i64 s = start; s < step; ++s) value -= factor[s * n + p] * factor[s * n + j];
        value /= pivot;
    }
    factor[step * n + j] = value;
    const double left = residual[j] - value * value;
    residual[j] = j == p ? -1.0 : left > 0 ? left : 0.0;
}
