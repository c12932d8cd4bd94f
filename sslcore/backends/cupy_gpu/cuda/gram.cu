// Values of a kernel k(x_i, y_j) = f(t), t = |x - y|^2, |x - y|_1 or <x, y>, or the product over the coordinates of
// f(t_c), t_c the distance on the circle of length 1.
//
// Formula   f is the `formula` of the kernel's declaration (sslcore/kernels.py), an expression in t, c0..c3, exp, sqrt,
//           cos2pi and real(literal): the loader defines it as the macro SSL_PROFILE.  One compilation a formula.
// Shapes    x (rows, d) C order; out (rows, columns) with leading dimension ld; y (n_y, d) C order, or its transpose
//           yt (d, n_y) where differences are summed; column j is the point first + j.
// Owner     direct_squares, direct_absolutes, direct_products: a block of 16 x 16 threads owns a tile of 64 x 64 values, a thread 4 x 4 of them, spaced by
//           16: loads from shared memory are broadcasts or conflict-free, stores are runs of 16 values.  Coordinates
//           pass through shared memory 16 at a time.  The other kernels finish a matrix product (cuBLAS) in place, one
//           thread a value.
// Bound by  Direct sums: writing the values for small d, else d differences, squares and sums a value; exp in float64
//           is some 20 operations, and direct_products has one or two for each coordinate of each value.  correct_distances and apply_profile: one read and one write a value.  Pairs that
//           are computed again cost d steps of their thread alone; they are views of one sample, a few a row.
//
// A pair value more is a branch of pair_step and its two lines of a kernel; another profile needs no code at all.

#ifndef SSL_PROFILE
#define SSL_PROFILE t
#endif

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define TILE 64
#define STEP 16  // threads a side, and the distance between the values of one thread
#define EACH 4   // values of a thread along a side
#define DEPTH 16  // coordinates in shared memory

enum { SQUARES = 0, ABSOLUTES = 1, PRODUCTS = 2 };

__device__ inline real cos2pi(real t) {
    return cospi(t + t);
}

__device__ inline real profile(real t, real c0, real c1, real c2, real c3) {
    return SSL_PROFILE;
}

template <int pair>
__device__ inline real pair_step(real total, real x, real y, real c0, real c1, real c2, real c3) {
    const real difference = x - y;
    if (pair == SQUARES) return total + difference * difference;
    const real distance = difference < 0 ? -difference : difference;
    if (pair == ABSOLUTES) return total + distance;
    const real around = 1 - distance;
    return total * profile(distance < around ? distance : around, c0, c1, c2, c3);
}

template <int pair>
__device__ inline void direct_tile(const real* x, i64 rows, i64 d, const real* yt, i64 n_y, i64 first, real* out,
                                   i64 columns, i64 ld, real c0, real c1, real c2, real c3) {
    __shared__ real xs[DEPTH][TILE + 1];
    __shared__ real ys[DEPTH][TILE];
    const int tx = threadIdx.x, ty = threadIdx.y, t = ty * STEP + tx;
    const i64 column = (i64)blockIdx.x * TILE;
    for (i64 row = (i64)blockIdx.y * TILE; row < rows; row += (i64)gridDim.y * TILE) {
        real total[EACH][EACH];
        for (int a = 0; a < EACH; ++a)
            for (int b = 0; b < EACH; ++b) total[a][b] = pair == PRODUCTS ? 1 : 0;
        for (i64 c = 0; c < d; c += DEPTH) {
            for (int s = t; s < DEPTH * TILE; s += STEP * STEP) {
                const i64 cx = c + s % DEPTH, i = row + s / DEPTH;
                xs[s % DEPTH][s / DEPTH] = (cx < d && i < rows) ? x[i * d + cx] : (real)0;
                const i64 cy = c + s / TILE, j = column + s % TILE;
                ys[s / TILE][s % TILE] = (cy < d && j < columns) ? yt[cy * n_y + first + j] : (real)0;
            }
            __syncthreads();
            // beyond d there are zeros, whose differences add nothing; but a factor f(0) is not 1
            const int depth = pair == PRODUCTS && d - c < DEPTH ? (int)(d - c) : DEPTH;
            for (int k = 0; k < depth; ++k) {
                real left[EACH], right[EACH];
                for (int e = 0; e < EACH; ++e) {
                    left[e] = xs[k][ty + STEP * e];
                    right[e] = ys[k][tx + STEP * e];
                }
                for (int a = 0; a < EACH; ++a)
                    for (int b = 0; b < EACH; ++b) 
                        total[a][b] = pair_step<pair>(total[a][b], left[a], right[b], c0, c1, c2, c3);
            }
            __syncthreads();
        }
        for (int a = 0; a < EACH; ++a) {
            const i64 i = row + ty + STEP * a;
            for (int b = 0; b < EACH; ++b) {
                const i64 j = column + tx + STEP * b;
                if (i < rows && j < columns) {
                    out[i * ld + j] = pair == PRODUCTS ? total[a][b] : profile(total[a][b], c0, c1, c2, c3);
                }
            }
        }
    }
}

extern "C" __global__ void direct_squares(const real* x, i64 rows, i64 d, const real* yt, i64 n_y, i64 first, real* out,
                                          i64 columns, i64 ld, real c0, real c1, real c2, real c3) {
    direct_tile<SQUARES>(x, rows, d, yt, n_y, first, out, columns, ld, c0, c1, c2, c3);
}

extern "C" __global__ void direct_absolutes(const real* x, i64 rows, i64 d, const real* yt, i64 n_y, i64 first,
                                            real* out, i64 columns, i64 ld, real c0, real c1, real c2, real c3) {
    direct_tile<ABSOLUTES>(x, rows, d, yt, n_y, first, out, columns, ld, c0, c1, c2, c3);
}

extern "C" __global__ void direct_products(const real* x, i64 rows, i64 d, const real* yt, i64 n_y, i64 first,
                                           real* out, i64 columns, i64 ld, real c0, real c1, real c2, real c3) {
    direct_tile<PRODUCTS>(x, rows, d, yt, n_y, first, out, columns, ld, c0, c1, c2, c3);
}

// out <- f(out), for products of coordinates
extern "C" __global__ void apply_profile(real* out, i64 rows, i64 columns, i64 ld, real c0, real c1, real c2, real c3) {
    const i64 j = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= columns) return;
    for (i64 i = blockIdx.y; i < rows; i += gridDim.y) {
        real* value = out + i * ld + j;
        *value = profile(*value, c0, c1, c2, c3);
    }
}

// out <- f(|x - y|^2) from products of centred coordinates.  |x|^2 + |y|^2 - 2 <x, y> is computed again from the
// differences of the coordinates before the centre was subtracted where the distance is at most
// factor (|x|^2 + |y|^2) and at most reach, both known to rounding (|x|^2 + |y|^2): see pairs.correct_distances of the
// CPU backend for why.
extern "C" __global__ void correct_distances(real* out, i64 rows, i64 columns, i64 ld, const real* x, const real* y, i64 d,
                                  const real* norms_x, const real* norms_y, real factor, real reach, real rounding,
                                  real c0, real c1, real c2, real c3) {
    const i64 j = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= columns) return;
    for (i64 i = blockIdx.y; i < rows; i += gridDim.y) {
        real* value = out + i * ld + j;
        const real size = norms_x[i] + norms_y[j];
        real t = size - (*value + *value);
        t = t < 0 ? (real)0 : t;  // NaN stays
        const real near = factor * size;
        const real bound = near < reach ? near : reach;
        if (t <= bound * bound + rounding * size) {
            t = 0;
            for (i64 c = 0; c < d; ++c) {
                const real difference = x[i * d + c] - y[j * d + c];
                t += difference * difference;
            }
        }
        *value = profile(t, c0, c1, c2, c3);
    }
}
