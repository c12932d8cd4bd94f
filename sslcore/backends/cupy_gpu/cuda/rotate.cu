// Rotation of views into the basis of their sample's mean and contrasts: of blocks of a Gram matrix, on both sides, and
// of blocks of features.
//
// Formula   [A B; B^T C] = (rotation_i) K_ij (rotation_j)^T for each pair (i, j) of samples: with the rows
//           h_c[a] sqrt(p_a) of `weighted` (m, m, count), row 0 the mean, of sslcore/samples.py.
// Shapes    rotate_*_views: block (rows, columns) with leading dimension ld holds the kernel values of some samples'
//           views, sample by sample, with those of samples that do not come before; mean A (n, n), cross_t B^T (nc, n)
//           and contrast C (nc, nc), C order, receive the rotated values and their transposes.  A row of `place` tells
//           where: see the enumeration.
//           rotate_features: features (n, m, r) less `shift` (r) to means (n, r), and less the first view of their
//           sample, which no contrast sees, to contrasts (n (m-1), r).
// Owner     rotate_*_views: a block of 32 x 8 threads owns 32 x 32 pairs of samples; a thread 4 pairs, spaced by 8
//           samples i.  Each of the m_i m_j rotated values goes through a tile in shared memory, so that both it and
//           its transpose are stored in runs along their rows.  rotate_features: one thread a sample and a column.
// Bound by  Memory: for two views a sample, four values are read and eight written for a pair.  With more views, values
//           are read m_i m_j times, from the cache.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define SIDE 32
#define LINES 8

// What `place` holds, all 64-bit integers
enum {
    LD,               // leading dimension of the block
    SAMPLES_I,        // samples of the rows of the block
    SAMPLES_J,        // samples of these columns of the block
    VIEWS_I,          // views of each: m_i
    VIEWS_J,          //                m_j
    COLUMN,           // where the columns begin in the block
    COUNT_I,          // samples in the class of i, the last axis of `left`
    COUNT_J,          // samples in the class of j, the last axis of `right`
    OFFSET_I,         // the first sample i within its class
    OFFSET_J,         // the first sample j within its class
    SAMPLE_I,         // the first sample i among all: a row of A
    SAMPLE_J,         // the first sample j among all: a column of A
    CONTRAST_I,       // its first contrast among all: a row of C
    CONTRAST_J,       // its first contrast among all: a column of C
    N,                // all samples: side of A
    N_CONTRASTS,      // all contrasts: side of C
    PLACE_SIZE
};

// The value (c, e) of a pair, from its m_i x m_j kernel values
__device__ inline real rotated(const real* values, i64 ld, const real* l, i64 l_step, i64 m_i, const real* r,
                               i64 r_step, i64 m_j) {
    real total = 0;
    for (i64 a = 0; a < m_i; ++a) {
        real row = 0;
        for (i64 b = 0; b < m_j; ++b) row += r[b * r_step] * values[a * ld + b];
        total += l[a * l_step] * row;
    }
    return total;
}

// fixed_m: the number of views of all samples concerned, known to the compiler, which then keeps the kernel values of a
// thread's pairs in registers; 0 if there are others.
template <int fixed_m>
__device__ inline void rotate_tile(const real* block, const i64* place, const real* left, const real* right, real* mean,
                                   real* cross_t, real* contrast) {
    __shared__ real tile[SIDE][SIDE + 1];
    const i64 ld = place[LD], n_i = place[SAMPLES_I], n_j = place[SAMPLES_J];
    const i64 m_i = fixed_m ? fixed_m : place[VIEWS_I], m_j = fixed_m ? fixed_m : place[VIEWS_J];
    const i64 count_i = place[COUNT_I], count_j = place[COUNT_J], n = place[N], nc = place[N_CONTRASTS];
    const i64 sample_i = place[SAMPLE_I], sample_j = place[SAMPLE_J];
    const int tx = threadIdx.x, ty = threadIdx.y;
    const i64 i0 = (i64)blockIdx.y * SIDE, j0 = (i64)blockIdx.x * SIDE;
    // pairs with j before i are the transposes of others: here the whole tile is
    if (sample_j + j0 + SIDE - 1 < sample_i + i0) return;
    left += place[OFFSET_I] + i0;
    right += place[OFFSET_J] + j0 + tx;
    block += i0 * m_i * ld + place[COLUMN] + (j0 + tx) * m_j;
    real kept[SIDE / LINES][fixed_m ? fixed_m * fixed_m : 1];
    if (fixed_m) {
        for (int p = 0; p < SIDE / LINES; ++p) {
            const int s = ty + LINES * p;
            for (int v = 0; v < fixed_m * fixed_m; ++v) {
                const bool inside = i0 + s < n_i && j0 + tx < n_j;
                const int views = fixed_m ? fixed_m : 1;  // nothing is divided by 0
                kept[p][v] = inside ? block[(s * fixed_m + v / views) * ld + v % views] : (real)0;
            }
        }
    }
    for (i64 c = 0; c < m_i; ++c) {
        for (i64 e = 0; e < m_j; ++e) {
            for (int p = 0; p < SIDE / LINES; ++p) {
                const int s = ty + LINES * p;
                real total = 0;
                if (i0 + s < n_i && j0 + tx < n_j) {
                    const real* values = fixed_m ? kept[p] : block + s * m_i * ld;
                    total = rotated(values, fixed_m ? fixed_m : ld, left + c * m_i * count_i + s, count_i, m_i,
                                    right + e * m_j * count_j, count_j, m_j);
                }
                tile[s][tx] = total;
            }
            __syncthreads();
            // along j: pairs i <= j; of a sample with itself the contrast's row is kept, its mirror image left out
            for (int s = ty; s < SIDE; s += LINES) {
                const i64 i = i0 + s, j = j0 + tx, at_i = sample_i + i, at_j = sample_j + j;
                if (i >= n_i || j >= n_j || at_j < at_i) continue;
                const i64 row = place[CONTRAST_I] + i * (m_i - 1) + c - 1;
                const i64 column = place[CONTRAST_J] + j * (m_j - 1) + e - 1;
                if (c == 0 && e == 0) mean[at_i * n + at_j] = tile[s][tx];
                if (c > 0 && e == 0) cross_t[row * n + at_j] = tile[s][tx];
                if (c > 0 && e > 0 && (at_i < at_j || c <= e)) contrast[row * nc + column] = tile[s][tx];
            }
            // along i: the transposes
            for (int s = ty; s < SIDE; s += LINES) {
                const i64 i = i0 + tx, j = j0 + s, at_i = sample_i + i, at_j = sample_j + j;
                if (i >= n_i || j >= n_j || at_j < at_i || (at_j == at_i && (e == 0 || c >= e))) continue;
                const i64 row = place[CONTRAST_J] + j * (m_j - 1) + e - 1;
                const i64 column = place[CONTRAST_I] + i * (m_i - 1) + c - 1;
                if (c == 0 && e == 0) mean[at_j * n + at_i] = tile[tx][s];
                if (c == 0 && e > 0 && at_i < at_j) cross_t[row * n + at_i] = tile[tx][s];
                if (c > 0 && e > 0) contrast[row * nc + column] = tile[tx][s];
            }
            __syncthreads();
        }
    }
}

extern "C" __global__ void rotate_two_views(const real* block, const i64* place, const real* left, const real* right,
                                            real* mean, real* cross_t, real* contrast) {
    rotate_tile<2>(block, place, left, right, mean, cross_t, contrast);
}

extern "C" __global__ void rotate_any_views(const real* block, const i64* place, const real* left, const real* right,
                                            real* mean, real* cross_t, real* contrast) {
    rotate_tile<0>(block, place, left, right, mean, cross_t, contrast);
}

extern "C" __global__ void rotate_features(const real* features, const real* rotation, const real* shift, i64 n, i64 m,
                                i64 r, real* means, real* contrasts) {
    const i64 t = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n * r) return;
    const i64 i = t / r, column = t % r;
    const real* views = features + i * m * r + column;
    const real centre = shift[column];
    for (i64 c = 0; c < m; ++c) {
        const real* h = rotation + c * m * n + i;
        real total = 0;
        const real origin = c == 0 ? centre : views[0];
        for (i64 a = c == 0 ? 0 : 1; a < m; ++a) total += h[a * n] * (views[a * r] - origin);
        if (c == 0)
            means[t] = total;
        else
            contrasts[(i * (m - 1) + c - 1) * r + column] = total;
    }
}
