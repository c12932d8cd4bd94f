// Values of a kernel k(x_i, y_j) = f(t), t = |x - y|^2, |x - y|_1 or <x, y>, or the product over the coordinates of
// f(t_c), t_c the distance on the circle of length 1: as they are, or of all views of samples in the basis of means and
// contrasts.
//
// Formula   f is the `formula` of the kernel's declaration (sslcore/kernels), an expression in t, c0..c3, exp, sqrt,
//           cos2pi and real(literal): the loader defines it as the macro SSL_PROFILE.  One compilation a formula.
//           distances_*: |x|^2 + |y|^2 - 2 <x, y> of centred points; it is computed again from the differences of the
//           points before the centre was subtracted where it is at most factor (|x|^2 + |y|^2) and at most reach, both
//           known to rounding (|x|^2 + |y|^2): see pairs.correct_distances of the CPU backend for why.
//           gram_contrasts: (l_i) K_ij (l_j)^T for each pair of samples of two views, l the 2 x 2 matrices `weighted`
//           of sslcore/samples.py, row 0 the mean, here (n, 2, 2).
// Shapes    x (rows, d) and y (columns, d), C order.  *_rows: out (rows, columns) with leading dimension ld.  *_both:
//           out (rows, rows), symmetric, y = x.  gram_contrasts: mean A (n, n), cross_t B^T (n, n), contrast C (n, n),
//           y = x, the views of sample i in rows 2 i and 2 i + 1.  finish_*: product (tall, wide), C order, of points
//           from row `top` and from column `left` on.
// Owner     A block of 256 threads owns a tile of I x J values, and a thread squares of 2 x 2 of them (two views of one
//           sample with two of another): in *_both and gram_contrasts it stores them and their mirror images, of the
//           tiles that reach above the diagonal.  A warp is 8 x 4 such threads: what it stores along rows and along
//           columns is whole sectors of 32 bytes.  Coordinates pass through shared memory 8 at a time, and the next are
//           read while these are summed.
// Bound by  Small d: storing the values; exp in float64 is some 20 operations, shared by a value and its mirror image.
//           Large d: the tensor cores' products in float64, multiplications in float32.  Pairs that are computed again
//           cost d steps of their thread alone; they are views of one sample, a few a row.
//
// product_*  out (shares, rows, width) += values @ right (columns, width) for `count` columns of right from `first` on,
//           each share with `share` of the points y: values are made by the threads that use them, in registers, two
//           rows a thread; coordinates and coefficients come from shared memory, the same for all threads of a block.
//           Sums over the points in shared memory are of the values' type, those beyond float64.
//
// A pair value more is a branch of `pair_step` and a line at the end; another profile needs no code at all.

#ifndef SSL_PROFILE
#define SSL_PROFILE t
#endif

#ifndef SSL_TILE
#define SSL_TILE squares
#endif

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define THREADS 256
#define SIDE 16       // threads along a side of the tile, where each sums for itself
#define DEPTH 8       // coordinates in shared memory
#define SHARED 64     // points y, with their coefficients, in shared memory where values are multiplied
#define PER_THREAD 2  // rows whose values a thread multiplies
#define CLUSTER 1024  // points along a side of a square of tiles that follow each other: they share points in the cache

enum { squares, absolutes, circles, distances, products };  // pair values: SSL_TILE
enum { ROWS, BOTH, CONTRASTS };                             // what is stored

struct __align__(2 * sizeof(real)) Two {
    real first, second;
};

// What a pair value needs beside its points
struct Arguments {
    const real *norms_x, *norms_y, *exact_x, *exact_y;
    real factor, reach, rounding, c0, c1, c2, c3;
};

struct Target {
    real *out, *cross_t, *contrast;
    const real* weighted;
    i64 ld;
    bool paired;  // values beside each other can be stored at once
};

__device__ inline real cos2pi(real t) {
    return cospi(t + t);
}

__device__ inline real profile(real t, const Arguments& with) {
    const real c0 = with.c0, c1 = with.c1, c2 = with.c2, c3 = with.c3;
    (void)c0, (void)c1, (void)c2, (void)c3;
    return SSL_PROFILE;
}

template <int pair>
__device__ inline real pair_step(real total, real x, real y, const Arguments& with) {
    if (pair >= distances) return total + x * y;
    const real difference = x - y;
    if (pair == squares) return total + difference * difference;
    const real distance = difference < 0 ? -difference : difference;
    if (pair == absolutes) return total + distance;
    const real around = 1 - distance;
    return total * profile(distance < around ? distance : around, with);
}

// How many squares of values a thread has along i and j, where, and whether warps multiply on tensor cores.  After a
// matrix product there is nothing to sum, and fewer values leave room for more threads
template <int pair, int what, bool product = false>
struct Shape {
    static constexpr bool wide = pair >= distances && !product;
    static constexpr bool tensor = wide && sizeof(real) == 8;
    static constexpr int P = wide && !tensor ? 4 : 2, Q = wide || (product && sizeof(real) == 4) ? 4 : 2;
    // on a multiprocessor, at least: as many as there are registers for
    static constexpr int blocks = pair == circles ? 1 : wide || what != CONTRASTS ? 2 : 3;
    static constexpr int I = tensor ? 128 : 2 * SIDE * P, J = tensor ? 64 : 2 * SIDE * Q;
    // from one square to the next: values are stored by twos; contrasts, one a square, as many as are adjacent
    static constexpr bool adjacent = what == CONTRASTS && !tensor;
    static constexpr int apart_x = adjacent ? 1 : tensor ? 8 : SIDE, apart_y = adjacent ? 1 : tensor ? 4 : SIDE;
    // shared memory: by coordinate, a point after the other; for tensor cores by point, so that what a warp reads at
    // once lies in different banks
    static constexpr int step_x = tensor ? DEPTH + 2 : I + 2, step_y = tensor ? DEPTH + 4 : J + 2;
    static constexpr int size_x = (tensor ? I : DEPTH) * step_x, size_y = (tensor ? J : DEPTH) * step_y;
    // the first square of this thread in its block's tile, counted in squares
    static __device__ inline int first_x() {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        return tensor ? warp / 2 * 8 * P + lane / 4 : (warp / 4 * 8 + lane / 4) * (adjacent ? P : 1);
    }
    static __device__ inline int first_y() {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        return tensor ? warp % 2 * 4 * Q + lane % 4 : (warp % 4 * 4 + lane % 4) * (adjacent ? Q : 1);
    }
};

// The coordinates from c on that this thread puts into shared memory, of the points from `first` on: one of every 32nd
template <int n>
__device__ inline void fetch(real (&held)[n], const real* points, int first, i64 limit, i64 d, i64 c) {
    const int mine = first + (int)threadIdx.x / DEPTH;
    const i64 coordinate = c + (int)threadIdx.x % DEPTH;
    const real* from = points + mine * d + coordinate;
    const int there = coordinate < d ? (int)min(limit - mine, (i64)(n * THREADS / DEPTH)) : 0;
#pragma unroll
    for (int s = 0; s < n; ++s) {
        held[s] = s * (THREADS / DEPTH) < there ? *from : (real)0;
        from += THREADS / DEPTH * d;
    }
}

template <bool by_point, int step, int n>
__device__ inline void keep(real* shared, const real (&held)[n]) {
#pragma unroll
    for (int s = 0; s < n; ++s) {
        const int e = s * THREADS + threadIdx.x;
        shared[by_point ? e / DEPTH * step + e % DEPTH : e % DEPTH * step + e / DEPTH] = held[s];
    }
}

// even and odd += the products of 8 rows each with 8 columns over 4 coordinates, on a warp's tensor cores: lane 4 g + t
// gives coordinate t of rows and of column g, and has columns 2 t and 2 t + 1 of row g
__device__ inline void multiply_add(double (&even)[2], double (&odd)[2], double a, double b, double y) {
#if defined(CUDA_ON_HOST) || __CUDA_ARCH__ < 800  // no such instruction
    const int lane = threadIdx.x % 32, group = lane / 4, column = lane % 4 * 2;
    for (int k = 0; k < 4; ++k) {
        const double left = __shfl_sync(0xffffffffu, a, 4 * group + k);
        const double right = __shfl_sync(0xffffffffu, b, 4 * group + k);
        for (int u = 0; u < 2; ++u) {
            const double value = __shfl_sync(0xffffffffu, y, 4 * (column + u) + k);
            even[u] = fma(left, value, even[u]);
            odd[u] = fma(right, value, odd[u]);
        }
    }
#elif __CUDA_ARCH__ >= 900
    asm("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+d"(even[0]), "+d"(even[1]), "+d"(odd[0]), "+d"(odd[1])
        : "d"(a), "d"(b), "d"(y));
#else
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+d"(even[0]), "+d"(even[1])
        : "d"(a), "d"(y));
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+d"(odd[0]), "+d"(odd[1])
        : "d"(b), "d"(y));
#endif
}

// Adds the values of the tile at (row, column) into the squares of 2 x 2 values of this thread
template <int pair, class S>
__device__ inline void sum_tile(real (&total)[2 * S::P][2 * S::Q], const real* x, i64 rows, int row, const real* y,
                                i64 columns, int column, i64 d, const Arguments& with) {
    const int base_x = S::first_x(), base_y = S::first_y();
    __shared__ __align__(16) real shared_x[2][S::size_x];  // one is filled while the other is read
    __shared__ __align__(16) real shared_y[2][S::size_y];
    real held_x[S::I * DEPTH / THREADS], held_y[S::J * DEPTH / THREADS];
    fetch(held_x, x, row, rows, d, 0);
    fetch(held_y, y, column, columns, d, 0);
    for (i64 c = 0; c < d; c += DEPTH) {
        real* xs = shared_x[c / DEPTH % 2];
        real* ys = shared_y[c / DEPTH % 2];
        keep<S::tensor, S::step_x>(xs, held_x);
        keep<S::tensor, S::step_y>(ys, held_y);
        __syncthreads();
        if (c + DEPTH < d) {
            fetch(held_x, x, row, rows, d, c + DEPTH);
            fetch(held_y, y, column, columns, d, c + DEPTH);
        }
        const int depth = d - c < DEPTH ? (int)(d - c) : DEPTH;
        if constexpr (S::tensor) {  // beyond d there are zeros
            const int lane = threadIdx.x % 32;
            const real* mine_x = xs + 2 * base_x * S::step_x + lane % 4;
            const real* mine_y = ys + (2 * (base_y - lane % 4) + lane / 4) * S::step_y + lane % 4;
#pragma unroll
            for (int k = 0; k < DEPTH; k += 4) {
                if (k >= depth) break;
                double left[2 * S::P];
#pragma unroll
                for (int e = 0; e < 2 * S::P; ++e) left[e] = mine_x[(e / 2 * 16 + e % 2) * S::step_x + k];
#pragma unroll
                for (int q = 0; q < S::Q; ++q) {
                    const double right = mine_y[8 * q * S::step_y + k];
#pragma unroll
                    for (int p = 0; p < S::P; ++p) {
                        double even[2] = {total[2 * p][2 * q], total[2 * p][2 * q + 1]};
                        double odd[2] = {total[2 * p + 1][2 * q], total[2 * p + 1][2 * q + 1]};
                        multiply_add(even, odd, left[2 * p], left[2 * p + 1], right);
                        total[2 * p][2 * q] = even[0], total[2 * p][2 * q + 1] = even[1];
                        total[2 * p + 1][2 * q] = odd[0], total[2 * p + 1][2 * q + 1] = odd[1];
                    }
                }
            }
        } else {
#pragma unroll 1
            for (int k = 0; k < depth; ++k) {
                real left[2 * S::P], right[2 * S::Q];
#pragma unroll
                for (int p = 0; p < S::P; ++p) {
                    const Two two = *(const Two*)(xs + k * S::step_x + 2 * (base_x + S::apart_x * p));
                    left[2 * p] = two.first, left[2 * p + 1] = two.second;
                }
#pragma unroll
                for (int q = 0; q < S::Q; ++q) {
                    const Two two = *(const Two*)(ys + k * S::step_y + 2 * (base_y + S::apart_y * q));
                    right[2 * q] = two.first, right[2 * q + 1] = two.second;
                }
#pragma unroll
                for (int a = 0; a < 2 * S::P; ++a)
#pragma unroll
                    for (int b = 0; b < 2 * S::Q; ++b)
                        total[a][b] = pair_step<pair>(total[a][b], left[a], right[b], with);
            }
        }
    }
}

// Up to which distance one from a product is computed again, where |x|^2 + |y|^2 is `size`
__device__ inline real too_near(real size, const Arguments& with) {
    const real near = with.factor * size;
    const real bound = near < with.reach ? near : with.reach;
    return bound * bound + with.rounding * size;
}

// Where value e of a thread's row or column of values is, in a matrix that ends at `limit`, or its last one
template <int apart>
__device__ inline int place(int first, int base, int e, i64 limit) {
    return min(first + 2 * (base + apart * (e / 2)) + e % 2, (int)limit - 1);
}

__device__ inline void store(real* at, real first, real second, bool paired, bool both) {
    if (paired && both) {
        *(Two*)at = Two{first, second};
    } else {
        at[0] = first;
        if (both) at[1] = second;
    }
}

// The corner of the tile with this number: the tiles of one cluster after those of another; false if there is none
template <int tile_i, int tile_j, bool upper>
__device__ inline bool corner(i64 number, i64 rows, i64 columns, int& row, int& column) {
    constexpr int across = CLUSTER / tile_j;
    i64 tall = CLUSTER / tile_i;  // no more tiles than rows need
    if (!upper) tall = min(tall, (rows + tile_i - 1) / tile_i);
    const i64 each = tall * across;
    const i64 cluster = number / each, within = number % each;
    i64 a, b;  // the cluster's place
    if (upper) {
        b = (i64)((sqrt(8.0 * (double)cluster + 1.0) - 1.0) / 2.0);
        while (b * (b + 1) / 2 > cluster) --b;  // the square root is rounded
        while ((b + 1) * (b + 2) / 2 <= cluster) ++b;
        a = cluster - b * (b + 1) / 2;
    } else {
        const i64 width = (columns + CLUSTER - 1) / CLUSTER;
        a = cluster / width, b = cluster % width;
    }
    row = (int)(a * CLUSTER + within / across * tile_i);
    column = (int)(b * CLUSTER + within % across * tile_j);
    return row < rows && column < columns && !(upper && column + tile_j <= row);
}

// values[c][e] <- sum_ab l_i[c][a] values[a][b] l_j[e][b]
__device__ inline void turn(real (&value)[2][2], const real (&left)[2][2], const real (&right)[2][2]) {
    real turned[2][2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const real above = right[e][0] * value[0][0] + right[e][1] * value[0][1];
            const real below = right[e][0] * value[1][0] + right[e][1] * value[1][1];
            turned[c][e] = left[c][0] * above + left[c][1] * below;
        }
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) value[e / 2][e % 2] = turned[e / 2][e % 2];
}

__device__ inline void weights_of(real (&weights)[2][2], i64 i, i64 n, const Target& to) {
    const Two* at = (const Two*)to.weighted + 2 * min(i, n - 1);
#pragma unroll
    for (int c = 0; c < 2; ++c) weights[c][0] = at[c].first, weights[c][1] = at[c].second;
}

// The rotated values of a pair of samples i <= j, and their mirror images
__device__ inline void store_turned(const real (&turned)[2][2], i64 i, i64 j, i64 n, const Target& to) {
    to.out[i * n + j] = turned[0][0];
    to.cross_t[i * n + j] = turned[1][0];
    to.contrast[i * n + j] = turned[1][1];
    if (i < j) {
        to.out[j * n + i] = turned[0][0];
        to.cross_t[j * n + i] = turned[0][1];
        to.contrast[j * n + i] = turned[1][1];
    }
}

template <int n>
struct __align__(n * sizeof(real)) Run {
    real value[n];
};

// The kernel values of adjacent samples from i and from j on: rotated in place, then stored, by runs where all are
// above the diagonal
template <class S>
__device__ inline void store_contrasts(real (&total)[2 * S::P][2 * S::Q], i64 n, i64 i, i64 j, const Target& to) {
#pragma unroll
    for (int q = 0; q < S::Q; ++q) {
        real left[2][2], right[2][2];
        weights_of(right, j + q, n, to);
#pragma unroll
        for (int p = 0; p < S::P; ++p) {
            weights_of(left, i + p, n, to);
            real value[2][2] = {{total[2 * p][2 * q], total[2 * p][2 * q + 1]},
                                {total[2 * p + 1][2 * q], total[2 * p + 1][2 * q + 1]}};
            if (i + p == j + q) value[1][0] = value[0][1];  // whatever the order of the sums
            turn(value, left, right);
#pragma unroll
            for (int e = 0; e < 4; ++e) total[2 * p + e / 2][2 * q + e % 2] = value[e / 2][e % 2];
        }
    }
    if (to.paired && i + S::P <= min(j, n) && j + S::Q <= n) {
#pragma unroll
        for (int part = 0; part < 3; ++part) {  // mean with mean, contrast with mean, contrast with contrast
            real* const block = part == 0 ? to.out : part == 1 ? to.cross_t : to.contrast;
            real* at = block + i * n + j;
#pragma unroll
            for (int p = 0; p < S::P; ++p, at += n) {
                Run<S::Q> run;
#pragma unroll
                for (int q = 0; q < S::Q; ++q) run.value[q] = total[2 * p + (part > 0)][2 * q + (part > 1)];
                *(Run<S::Q>*)at = run;
            }
            at = block + j * n + i;
#pragma unroll
            for (int q = 0; q < S::Q; ++q, at += n) {
                Run<S::P> run;
#pragma unroll
                for (int p = 0; p < S::P; ++p) run.value[p] = total[2 * p + (part > 1)][2 * q + (part > 0)];
                *(Run<S::P>*)at = run;
            }
        }
        return;
    }
#pragma unroll
    for (int p = 0; p < S::P; ++p) {
#pragma unroll
        for (int q = 0; q < S::Q; ++q) {
            const i64 at_i = i + p, at_j = j + q;
            if (at_i >= n || at_j >= n || at_j < at_i) continue;  // a mirror image is another square's
            const real turned[2][2] = {{total[2 * p][2 * q], total[2 * p][2 * q + 1]},
                                       {total[2 * p + 1][2 * q], total[2 * p + 1][2 * q + 1]}};
            store_turned(turned, at_i, at_j, n, to);
        }
    }
}

// A square of values, of the pairs (i, j) of two rows and two columns each, and its mirror image
template <int what>
__device__ inline void store_square(real (&value)[2][2], i64 i, i64 j, i64 rows, i64 columns, const Target& to) {
    const bool two_rows = 2 * i + 1 < rows, two_columns = 2 * j + 1 < columns;
    if (what != ROWS && i == j) value[1][0] = value[0][1];  // whatever the order of the sums
    if (what == CONTRASTS) {
        real left[2][2], right[2][2];
        weights_of(left, i, rows / 2, to);
        weights_of(right, j, rows / 2, to);
        turn(value, left, right);
        store_turned(value, i, j, rows / 2, to);
        return;
    }
    store(to.out + 2 * i * to.ld + 2 * j, value[0][0], value[0][1], to.paired, two_columns);
    if (two_rows) store(to.out + (2 * i + 1) * to.ld + 2 * j, value[1][0], value[1][1], to.paired, two_columns);
    if (what == BOTH && i < j) {
        store(to.out + 2 * j * to.ld + 2 * i, value[0][0], value[1][0], to.paired, two_rows);
        if (two_columns) store(to.out + (2 * j + 1) * to.ld + 2 * i, value[0][1], value[1][1], to.paired, two_rows);
    }
}

// A square whose distances are sums of differences
template <int what>
__device__ inline void exact_square(i64 i, i64 j, i64 rows, i64 columns, i64 d, const Arguments& with,
                                    const Target& to) {
    real value[2][2];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        const real* x = with.exact_x + min(2 * i + e / 2, rows - 1) * d;
        const real* y = with.exact_y + min(2 * j + e % 2, columns - 1) * d;
        real total = 0;
        for (i64 c = 0; c < d; ++c) {
            const real difference = x[c] - y[c];
            total += difference * difference;
        }
        value[e / 2][e % 2] = profile(total, with);
    }
    store_square<what>(value, i, j, rows, columns, to);
}

// What becomes of the sums over coordinates that a thread has, in the tile at (row, column)
template <int pair, int what, class S>
__device__ inline void finish(real (&total)[2 * S::P][2 * S::Q], i64 rows, int row, i64 columns, int column, i64 d,
                              const Arguments& with, const Target& to) {
    const int base_x = S::first_x(), base_y = S::first_y();
    unsigned near = 0;  // the squares with a value that is too small to come from a product, a bit each
    if constexpr (pair == distances) {
        // one bound for all values of a thread, that of its largest: it is not less than their own
        real norms_x[2 * S::P], most_x = 0, most_y = 0;
#pragma unroll
        for (int a = 0; a < 2 * S::P; ++a) {
            norms_x[a] = with.norms_x[place<S::apart_x>(row, base_x, a, rows)];
            most_x = max(most_x, norms_x[a]);
        }
#pragma unroll
        for (int b = 0; b < 2 * S::Q; ++b) {
            const real norm_y = with.norms_y[place<S::apart_y>(column, base_y, b, columns)];
            most_y = max(most_y, norm_y);
#pragma unroll
            for (int a = 0; a < 2 * S::P; ++a)
                total[a][b] = (norms_x[a] + norm_y) - (total[a][b] + total[a][b]);  // NaN stays
        }
        const real most = too_near(most_x + most_y, with);
#pragma unroll
        for (int a = 0; a < 2 * S::P; ++a)
#pragma unroll
            for (int b = 0; b < 2 * S::Q; ++b) near |= (unsigned)(total[a][b] <= most) << (a / 2 * S::Q + b / 2);
    }
    if constexpr (S::adjacent) {
#pragma unroll
        for (int a = 0; a < 2 * S::P; ++a)
#pragma unroll
            for (int b = 0; b < 2 * S::Q; ++b) total[a][b] = pair == circles ? total[a][b] : profile(total[a][b], with);
        store_contrasts<S>(total, rows / 2, row / 2 + base_x, column / 2 + base_y, to);
    } else {
#pragma unroll
        for (int p = 0; p < S::P; ++p) {
#pragma unroll
            for (int q = 0; q < S::Q; ++q) {
                const i64 i = row / 2 + base_x + S::apart_x * p, j = column / 2 + base_y + S::apart_y * q;
                // a mirror image is another square's
                if (2 * i >= rows || 2 * j >= columns || (what != ROWS && j < i)) continue;
                real value[2][2];
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const real t = total[2 * p + e / 2][2 * q + e % 2];
                    value[e / 2][e % 2] = pair == circles ? t : profile(t, with);
                }
                store_square<what>(value, i, j, rows, columns, to);
            }
        }
    }
    // afterwards, and not unrolled: few pairs need it, and all others keep their registers
#pragma unroll 1
    for (int e = 0; near != 0; ++e, near >>= 1) {
        const i64 i = row / 2 + base_x + S::apart_x * (e / S::Q), j = column / 2 + base_y + S::apart_y * (e % S::Q);
        if (near % 2 == 0 || 2 * i >= rows || 2 * j >= columns || (what != ROWS && j < i)) continue;
        exact_square<what>(i, j, rows, columns, d, with, to);
    }
}

// The tile of this block: sums over coordinates, then what becomes of them
template <int pair, int what>
__device__ inline void tile(const real* x, i64 rows, const real* y, i64 columns, i64 d, const Arguments& with,
                            const Target& to) {
    typedef Shape<pair, what> S;
    int row, column;  // there are fewer than 2^31 points
    if (!corner<S::I, S::J, what != ROWS>(blockIdx.x, rows, columns, row, column)) return;
    real total[2 * S::P][2 * S::Q];
#pragma unroll
    for (int a = 0; a < 2 * S::P; ++a)
#pragma unroll
        for (int b = 0; b < 2 * S::Q; ++b) total[a][b] = pair == circles ? 1 : 0;
    sum_tile<pair, S>(total, x, rows, row, y, columns, column, d, with);
    finish<pair, what, S>(total, rows, row, columns, column, d, with, to);
}

// The same where a matrix product has the sums: `product` (tall, wide) is that of points top.. with points left..
template <int pair, int what>
__device__ inline void tile_of_product(const real* product, i64 wide, i64 top, i64 left, i64 rows, i64 columns, i64 d,
                                       const Arguments& with, const Target& to) {
    typedef Shape<pair, what, true> S;
    const int row = (int)(top + blockIdx.y * S::I), column = (int)(left + blockIdx.x * S::J);
    if (what != ROWS && column + S::J <= row) return;
    const int base_x = S::first_x(), base_y = S::first_y();
    real total[2 * S::P][2 * S::Q];
#pragma unroll
    for (int a = 0; a < 2 * S::P; ++a) {
#pragma unroll
        for (int q = 0; q < S::Q; ++q) {
            const i64 i = row + 2 * (base_x + S::apart_x * (a / 2)) + a % 2, j = column + 2 * (base_y + S::apart_y * q);
            const real* at = product + (i - top) * wide + (j - left);
            Two two{0, 0};
            if (i < rows && j + 1 < columns && wide % 2 == 0) {
                two = *(const Two*)at;
            } else if (i < rows && j < columns) {
                two.first = at[0];
                if (j + 1 < columns) two.second = at[1];
            }
            total[a][2 * q] = two.first, total[a][2 * q + 1] = two.second;
        }
    }
    finish<pair, what, S>(total, rows, row, columns, column, d, with, to);
}

#define POINTS const real *x, i64 rows, i64 d, const real *norms, const real *exact
#define BOUNDS real factor, real reach, real rounding, real c0, real c1, real c2, real c3
#define OTHERS const real *y, i64 columns, const real *norms_y, const real *exact_y
#define WITH(norms_y, exact_y) Arguments{norms, norms_y, exact, exact_y, factor, reach, rounding, c0, c1, c2, c3}
#define PRODUCT const real *product, i64 wide, i64 top, i64 left

enum {  // blocks on a multiprocessor, at least
    FOR_ROWS = Shape<SSL_TILE, ROWS>::blocks,
    FOR_BOTH = Shape<SSL_TILE, BOTH>::blocks,
    FOR_CONTRASTS = Shape<SSL_TILE, CONTRASTS>::blocks
};

template <int what>
__device__ inline void tell_shapes(int* to) {
    to[0] = Shape<SSL_TILE, what>::I, to[1] = Shape<SSL_TILE, what>::J;
    to[2] = Shape<SSL_TILE, what, true>::I, to[3] = Shape<SSL_TILE, what, true>::J;
}

// Rows and columns of a block's tile, where it sums itself and after a matrix product, for each thing that is stored:
// the caller makes its grids of them
extern "C" __global__ void tile_shapes(int* shapes) {
    tell_shapes<ROWS>(shapes + 4 * ROWS);
    tell_shapes<BOTH>(shapes + 4 * BOTH);
    tell_shapes<CONTRASTS>(shapes + 4 * CONTRASTS);
}

extern "C" __global__ void __launch_bounds__(THREADS, FOR_ROWS)
gram_rows(POINTS, BOUNDS, OTHERS, real* out, i64 ld, int paired) {
    tile<SSL_TILE, ROWS>(x, rows, y, columns, d, WITH(norms_y, exact_y), Target{out, 0, 0, 0, ld, paired != 0});
}

extern "C" __global__ void __launch_bounds__(THREADS, FOR_BOTH)
gram_both(POINTS, BOUNDS, real* out, i64 ld, int paired) {
    tile<SSL_TILE, BOTH>(x, rows, x, rows, d, WITH(norms, exact), Target{out, 0, 0, 0, ld, paired != 0});
}

extern "C" __global__ void __launch_bounds__(THREADS, FOR_CONTRASTS)
gram_contrasts(POINTS, BOUNDS, real* mean, real* cross_t, real* contrast, const real* weighted, int paired) {
    const Target to{mean, cross_t, contrast, weighted, 0, paired != 0};
    tile<SSL_TILE, CONTRASTS>(x, rows, x, rows, d, WITH(norms, exact), to);
}

extern "C" __global__ void __launch_bounds__(THREADS, FOR_ROWS)
finish_rows(PRODUCT, POINTS, BOUNDS, OTHERS, real* out, i64 ld, int paired) {
    if constexpr (SSL_TILE >= distances) {
        const Target to{out, 0, 0, 0, ld, paired != 0};
        tile_of_product<SSL_TILE, ROWS>(product, wide, top, left, rows, columns, d, WITH(norms_y, exact_y), to);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, FOR_BOTH)
finish_both(PRODUCT, POINTS, BOUNDS, real* out, i64 ld, int paired) {
    if constexpr (SSL_TILE >= distances) {
        const Target to{out, 0, 0, 0, ld, paired != 0};
        tile_of_product<SSL_TILE, BOTH>(product, wide, top, left, rows, rows, d, WITH(norms, exact), to);
    }
}

// The product of the values of up to DEPTH coordinates with `count` columns of a thin block
template <int pair, int count>
__device__ inline void multiply(const real* x, i64 rows, i64 d, const real* y, i64 columns, const real* right,
                                i64 width, i64 first, i64 share, const Arguments& with, double* out) {
    __shared__ __align__(16) real shared_y[SHARED * DEPTH];
    __shared__ __align__(16) real shared_c[SHARED * count];
    const i64 row = (i64)blockIdx.x * (THREADS * PER_THREAD) + threadIdx.x;
    const i64 start = (i64)blockIdx.y * share, stop = min(columns, start + share);
    real mine[PER_THREAD][DEPTH], part[PER_THREAD][count];
    double total[PER_THREAD][count];  // of parts in float32
#pragma unroll
    for (int r = 0; r < PER_THREAD; ++r) {
        const real* from = x + min(row + r * THREADS, rows - 1) * d;
#pragma unroll
        for (int c = 0; c < DEPTH; ++c) mine[r][c] = c < d ? from[c] : (real)0;
#pragma unroll
        for (int g = 0; g < count; ++g) part[r][g] = 0, total[r][g] = 0;
    }
    for (i64 begin = start; begin < stop; begin += SHARED) {
        const int there = (int)min(stop - begin, (i64)SHARED);
        __syncthreads();
        for (int e = threadIdx.x; e < SHARED * DEPTH; e += THREADS) {
            const int j = e / DEPTH, c = e % DEPTH;
            shared_y[e] = j < there && c < d ? y[(begin + j) * d + c] : (real)0;
        }
        for (int e = threadIdx.x; e < SHARED * count; e += THREADS) {
            const int j = e / count;
            const i64 g = first + e % count;
            shared_c[e] = j < there && g < width ? right[(begin + j) * width + g] : (real)0;
        }
        __syncthreads();
        for (int j = 0; j < there; ++j) {
            real t[PER_THREAD];
#pragma unroll
            for (int r = 0; r < PER_THREAD; ++r) t[r] = pair == circles ? 1 : 0;
#pragma unroll
            for (int c = 0; c < DEPTH; ++c) {
                if (c >= d) break;
                const real other = shared_y[j * DEPTH + c];
#pragma unroll
                for (int r = 0; r < PER_THREAD; ++r) t[r] = pair_step<pair>(t[r], mine[r][c], other, with);
            }
#pragma unroll
            for (int r = 0; r < PER_THREAD; ++r) {
                const real value = pair == circles ? t[r] : profile(t[r], with);
#pragma unroll
                for (int g = 0; g < count; ++g) part[r][g] += value * shared_c[j * count + g];
            }
        }
        if constexpr (sizeof(real) == 4) {
#pragma unroll
            for (int r = 0; r < PER_THREAD; ++r)
#pragma unroll
                for (int g = 0; g < count; ++g) total[r][g] += part[r][g], part[r][g] = 0;
        }
    }
#pragma unroll
    for (int r = 0; r < PER_THREAD; ++r) {
        const i64 i = row + r * THREADS;
        if (i >= rows) continue;
        double* to = out + ((i64)blockIdx.y * rows + i) * width + first;
#pragma unroll
        for (int g = 0; g < count; ++g)
            if (first + g < width) to[g] = sizeof(real) == 4 ? total[r][g] : (double)part[r][g];
    }
}

#define FACTORS const real *right, i64 width, i64 first, i64 share
#define CONSTANTS real c0, real c1, real c2, real c3
#define MULTIPLY(count)                                                                                               \
    if constexpr (SSL_TILE < distances) {                                                                             \
        const Arguments with{0, 0, 0, 0, 0, 0, 0, c0, c1, c2, c3};                                                    \
        multiply<SSL_TILE, count>(x, rows, d, y, columns, right, width, first, share, with, out);                     \
    }

extern "C" __global__ void __launch_bounds__(THREADS, 1)
product_4(const real* x, i64 rows, i64 d, const real* y, i64 columns, FACTORS, CONSTANTS, double* out) {
    MULTIPLY(4)
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
product_8(const real* x, i64 rows, i64 d, const real* y, i64 columns, FACTORS, CONSTANTS, double* out) {
    MULTIPLY(8)
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
product_12(const real* x, i64 rows, i64 d, const real* y, i64 columns, FACTORS, CONSTANTS, double* out) {
    MULTIPLY(12)
}
