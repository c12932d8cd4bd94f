// What the risks sum over the views of each sample, and their gradients.
//
// second_moments   moments[part] <- the sum of z_ia z_ia^T over the samples of a part, upper triangle by blocks of 32;
//                  partial[block] <- sum_ia |z_ia - zbar_i|^2 and, if asked for, sum_iab <z_ia, z_ib>^2.
// view_gradients_* gradient <- z_ia weight + spread (z_ia - zbar_i) - outer sum_b z_ib <z_ib, z_ia>; for so many columns.
// Shapes           z and gradient (n, m, k) in C order, real; all else double: moments (parts, k, k), partial (blocks, 2),
//                  weight of full width, with zeros.  m <= 8 and k <= 256; for others there are:
// sample_sums      partial as above, of a block of the data, converted to double;
// finish_gradient  the same gradient where product (n, m, k), double, comes in as z_ia weight (cuBLAS).
//
// Owner    second_moments: a block of threads takes every gridDim.x-th stage of 8 rows (or fewer, samples whole), of
//          which there are two in shared memory, one that is filled from registers while the other is multiplied by
//          itself.  A warp owns 32 x 32 values of the result, in its registers; blockIdx.y says which.  Blocks that own
//          other values of the same part take turns at the sums over views.  Nobody adds the parts: the caller does, in
//          a fixed order.
//          view_gradients_*: a block takes 64 rows (or fewer, samples whole) at a time, which lie in shared memory, a
//          warp 32 x 32 values of their gradient in its registers.  These begin with what the views of a sample give
//          each other, a matrix of m x m numbers times them; then come eight columns of the rows times eight rows of
//          the weight after another, while the next eight rows of the weight come in, and the next rows of z take the
//          places of columns that are done with.
//          sample_sums, finish_gradient: a warp owns a sample; a lane every 32nd component.
// Bound by Products in double on tensor cores.  z is read for the sums (if k > 128 more than once, then from the cache)
//          and for the gradient, in its own type.  The last two by memory.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

#define LANES 32
#define WARPS 4
#define DEPTH 8     // of a product: rows of z that are summed over at a time, or columns of z and rows of the weight
#define WIDEST 256  // columns, at most
#define MOST 384    // threads for second moments: of 8 x 9 / 2 squares of 32 x 32, a warp's, a block has a third
#define SKEW 4      // of the rows in shared memory: with it the lanes of half a warp read from different banks
#define ROWS 64     // of a tile of gradients

__device__ inline double warp_sum(double value) {
    for (int offset = LANES / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
}

__device__ inline double product_of(const double* x, const double* y, i64 k, int lane) {
    double total = 0;
    for (i64 c = lane; c < k; c += LANES) total += x[c] * y[c];
    return warp_sum(total);
}

// even and odd += the products of 8 rows each with 8 columns over 8 coordinates, on a warp's tensor cores: lane 4 g + t
// gives coordinates t and t + 4 of rows and of column g, and has columns 2 t and 2 t + 1 of row g
__device__ inline void multiply_add(double (&even)[2], double (&odd)[2], const double (&a)[2], const double (&b)[2],
                                    const double (&y)[2]) {
#if defined(CUDA_ON_HOST) || __CUDA_ARCH__ < 800  // no such instruction
    const int lane = threadIdx.x % LANES, group = lane / 4, column = lane % 4 * 2;
    for (int half = 0; half < 2; ++half) {
        for (int k = 0; k < 4; ++k) {
            const double left = __shfl_sync(0xffffffffu, a[half], 4 * group + k);
            const double right = __shfl_sync(0xffffffffu, b[half], 4 * group + k);
            for (int u = 0; u < 2; ++u) {
                const double value = __shfl_sync(0xffffffffu, y[half], 4 * (column + u) + k);
                even[u] = fma(left, value, even[u]);
                odd[u] = fma(right, value, odd[u]);
            }
        }
    }
#elif __CUDA_ARCH__ >= 900
    asm("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+d"(even[0]), "+d"(even[1]), "+d"(odd[0]), "+d"(odd[1])
        : "d"(a[0]), "d"(b[0]), "d"(a[1]), "d"(b[1]), "d"(y[0]), "d"(y[1]));
#else
    for (int half = 0; half < 2; ++half) {
        asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+d"(even[0]), "+d"(even[1])
            : "d"(a[half]), "d"(y[half]));
        asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+d"(odd[0]), "+d"(odd[1])
            : "d"(b[half]), "d"(y[half]));
    }
#endif
}

// The 32 x 32 values of a warp: total[i][0] and [1] are 8 rows each, total[.][.][j] 8 columns.  They grow by products
// over DEPTH coordinates: number c of row r is x[r * row + c * depth], of column j it is y[c * line + j].
__device__ inline void add_products(double (&total)[2][2][4][2], const double* x, int row, int depth, const double* y,
                                    int line) {
    const int lane = threadIdx.x % LANES, g = lane / 4, t = lane % 4;
    double a[2][2][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int o = 0; o < 2; ++o) {
            const double* from = x + (16 * i + 8 * o + g) * row + t * depth;
            a[i][o][0] = from[0];
            a[i][o][1] = from[4 * depth];
        }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const double b[2] = {y[t * line + 8 * j + g], y[(t + 4) * line + 8 * j + g]};
#pragma unroll
        for (int i = 0; i < 2; ++i) multiply_add(total[i][0][j], total[i][1][j], a[i][0], a[i][1], b);
    }
}

__device__ inline i64 least(i64 a, i64 b) { return a < b ? a : b; }

// A stage in shared memory: DEPTH lines of z from `first` on, of which there are `lines`, and zeros beyond.  A warp brings
// 32 columns of a line at a time; 8 lines in turn.
template <int each>
__device__ inline void fetch(real (&held)[each], const real* z, i64 first, i64 lines, int k) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
    const real* from = z + first * k;
#pragma unroll
    for (int i = 0; i < each; ++i) {
        const int unit = warp + i * warps, line = unit % DEPTH, column = unit / DEPTH * LANES + lane;
        held[i] = line < lines && column < k ? from[line * k + column] : (real)0;
    }
}

template <int each>
__device__ inline void keep(double* stage, const real (&held)[each], int width) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
#pragma unroll
    for (int i = 0; i < each; ++i) {
        const int unit = warp + i * warps, line = unit % DEPTH, column = unit / DEPTH * LANES + lane;
        if (column < width) stage[line * (WIDEST + SKEW) + column] = (double)held[i];
    }
}

// Sums over the views of one sample, lines of shared memory, by a warp.  Loops are not unrolled: registers are needed for
// products.
__device__ inline void add_sample(double& within, double& fourth, const double* views, int m, int k, int pitch,
                                  bool products) {
    const int lane = threadIdx.x % LANES;
#pragma unroll 1
    for (int c = lane; c < k; c += LANES) {
        double mean = 0;
#pragma unroll 1
        for (int a = 0; a < m; ++a) mean += views[a * pitch + c];
        mean /= (double)m;
#pragma unroll 1
        for (int a = 0; a < m; ++a) {
            const double difference = views[a * pitch + c] - mean;
            within += difference * difference;
        }
    }
    if (!products) return;
#pragma unroll 1
    for (int a = 0; a < m; ++a) {
#pragma unroll 1
        for (int b = 0; b <= a; ++b) {
            const double product = product_of(views + a * pitch, views + b * pitch, k, lane);
            fourth += (a == b ? 1.0 : 2.0) * product * product;
        }
    }
}

extern "C" __global__ void __launch_bounds__(MOST, 1)
    second_moments(const real* z, i64 n, int m, int k, int products, double* moments, double* partial) {
    __shared__ double stage[2][DEPTH * (WIDEST + SKEW)];
    __shared__ double sums[MOST / LANES][2];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
    const int squares = (k + LANES - 1) / LANES, width = squares * LANES, pitch = WIDEST + SKEW;
    const int share = (squares * (squares + 1) / 2 + gridDim.y - 1) / gridDim.y;
    int row = 0, column = blockIdx.y * share + warp;  // of all squares on or above the diagonal
    while (row < squares && column >= squares - row) column -= squares - row++;
    const bool busy = row < squares && warp < share;
    const int left = row * LANES, right = (row + column) * LANES;

    double total[2][2][4][2] = {};
    double within = 0, fourth = 0;
    real held[6];
    const int samples = DEPTH / m, height = samples * m;
    unsigned mine = 0;  // samples of a stage: those of warps of which a multiprocessor's parts have few
    for (int i = 0; i < samples; ++i) mine |= (unsigned)(i / 2 * 4 + 2 + i % 2) % warps == warp ? 1u << i : 0u;
    const i64 end = n * m, stages = (n + samples - 1) / samples;
    i64 s = blockIdx.x;
    unsigned turn = 0;
    if (s < stages) {
        fetch(held, z, s * height, least(end - s * height, height), k);
        keep(stage[0], held, width);
    }
    __syncthreads();
    for (; s < stages; s += gridDim.x, ++turn) {
        const double* now = stage[turn % 2];
        const i64 next = s + gridDim.x;
        if (next < stages) fetch(held, z, next * height, least(end - next * height, height), k);
        if (busy) add_products(total, now + left, 1, pitch, now + right, pitch);
        if (turn % gridDim.y == blockIdx.y)
#pragma unroll 1
            for (int i = 0; i < samples; ++i)
                if (mine >> i & 1) add_sample(within, fourth, now + i * m * pitch, m, k, pitch, products);
        if (next < stages) keep(stage[(turn + 1) % 2], held, width);
        __syncthreads();
    }

    if (busy) {
        double* out = moments + (i64)blockIdx.x * k * k;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int o = 0; o < 2; ++o) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
#pragma unroll
                    for (int u = 0; u < 2; ++u) {
                        const int r = left + 16 * i + 8 * o + lane / 4, c = right + 8 * j + lane % 4 * 2 + u;
                        if (r < k && c < k) out[r * k + c] = total[i][o][j][u];
                    }
                }
            }
        }
    }
    within = warp_sum(within);
    if (lane == 0) {
        sums[warp][0] = within;
        sums[warp][1] = fourth;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        double all = 0;
        for (int w = 0; w < warps; ++w) all += sums[w][threadIdx.x];
        partial[2 * ((i64)blockIdx.y * gridDim.x + blockIdx.x) + threadIdx.x] = all;
    }
}

// Gradients of up to `width` columns, by 2 * width threads; weight (width, width) with zeros beyond k
template <int width>
struct Gradients {
    static constexpr int threads = 2 * width, pitch = width + SKEW, each = (ROWS * DEPTH + threads - 1) / threads;

    // columns DEPTH * step and on of a tile of z, rows from `first` on, of which there are `lines`; zeros beyond
    static __device__ inline void fetch_columns(real (&held)[each], const real* z, i64 first, int lines, int k, int step) {
        const int column = step * DEPTH + threadIdx.x % DEPTH;
        const real* from = z + first * k + column;
#pragma unroll
        for (int i = 0; i < each; ++i) {
            const int line = threadIdx.x / DEPTH + i * (threads / DEPTH);
            held[i] = line < lines && column < k ? from[line * k] : (real)0;
        }
    }

    static __device__ inline void keep_columns(double* tile, const real (&held)[each], int step) {
        double* to = tile + step * DEPTH + threadIdx.x % DEPTH;
#pragma unroll
        for (int i = 0; i < each; ++i) {
            const int line = threadIdx.x / DEPTH + i * (threads / DEPTH);
            if (line < ROWS) to[line * pitch] = (double)held[i];
        }
    }

    // DEPTH rows of the weight, in order: four numbers a thread
    static __device__ inline void fetch_weight(double (&held)[4], const double* weight, int step) {
#pragma unroll
        for (int i = 0; i < 4; ++i) held[i] = weight[step * DEPTH * width + threadIdx.x + i * threads];
    }

    static __device__ inline void keep_weight(double* stage, const double (&held)[4]) {
        double* to = stage + threadIdx.x / width * pitch + threadIdx.x % width;
#pragma unroll
        for (int i = 0; i < 4; ++i) to[2 * i * pitch] = held[i];
    }

    // what the views of a sample give each other: m x m numbers for each sample
    static __device__ inline void set_mix(double* mix, const double* tile, int samples, int m, int k, double spread,
                                          double outer) {
        const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
#pragma unroll 1
        for (int i = warp; i < samples; i += threads / LANES) {
            const double* views = tile + i * m * pitch;
#pragma unroll 1
            for (int a = 0; a < m; ++a) {
#pragma unroll 1
                for (int b = 0; b <= a; ++b) {
                    double value = spread * ((a == b ? 1.0 : 0.0) - 1.0 / (double)m);
                    if (outer != 0) value -= outer * product_of(views + a * pitch, views + b * pitch, k, lane);
                    if (lane == 0) mix[(i * m + a) * m + b] = mix[(i * m + b) * m + a] = value;
                }
            }
        }
    }

    static __device__ inline void run(double* shared, const real* z, i64 n, int m, int k, const double* weight,
                                      double spread, double outer, real* gradient) {
        const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
        const int top = warp % 2 * 32, right = warp / 2 * 32, steps = (k + DEPTH - 1) / DEPTH;
        double* tile = shared;
        double* stages = shared + ROWS * pitch;  // two
        const int samples = ROWS / m, height = samples * m;
        const i64 end = n * m, tiles = (n + samples - 1) / samples;

        real held[each];
        double lines[4];
        int now = 0;
        i64 at = blockIdx.x;
        if (at < tiles) {
#pragma unroll 1
            for (int step = 0; step < width / DEPTH; ++step) {
                fetch_columns(held, z, at * height, (int)least(end - at * height, height), k, step);
                keep_columns(tile, held, step);
            }
            fetch_weight(lines, weight, 0);
            keep_weight(stages, lines);
        }
        for (; at < tiles; at += gridDim.x) {
            double* mix = stages + (1 - now) * DEPTH * pitch;  // where the next but one stage will be
            __syncthreads();
            set_mix(mix, tile, samples, m, k, spread, outer);
            __syncthreads();
            double total[2][2][4][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int o = 0; o < 2; ++o) {
                    const int row = top + 16 * i + 8 * o + lane / 4, first = row / m * m;
#pragma unroll
                    for (int j = 0; j < 4; ++j) total[i][o][j][0] = total[i][o][j][1] = 0;
                    if (row >= height) continue;
#pragma unroll 1
                    for (int b = 0; b < m; ++b) {
                        const double factor = mix[row * m + b];
                        const double* view = tile + (first + b) * pitch + right + lane % 4 * 2;
#pragma unroll
                        for (int j = 0; j < 4; ++j) {
                            total[i][o][j][0] += factor * view[8 * j];
                            total[i][o][j][1] += factor * view[8 * j + 1];
                        }
                    }
                }
            }
            __syncthreads();

            const i64 next = at + gridDim.x;
            const int rows_left = next < tiles ? (int)least(end - next * height, height) : 0;
#pragma unroll 1
            for (int step = 0; step < steps; ++step) {
                if (step > 0) keep_columns(tile, held, step - 1);
                fetch_columns(held, z, next * height, rows_left, k, step);
                fetch_weight(lines, weight, step + 1 < steps ? step + 1 : 0);
                add_products(total, tile + top * pitch + step * DEPTH, pitch, 1, stages + now * DEPTH * pitch + right,
                             pitch);
                now = 1 - now;
                keep_weight(stages + now * DEPTH * pitch, lines);
                __syncthreads();
            }
            keep_columns(tile, held, steps - 1);

            const int limit = (int)least(end - at * height, height);
            real* out = gradient + at * height * k;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int o = 0; o < 2; ++o) {
                    const int row = top + 16 * i + 8 * o + lane / 4;
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
#pragma unroll
                        for (int u = 0; u < 2; ++u) {
                            const int column = right + 8 * j + lane % 4 * 2 + u;
                            if (row < limit && column < k) out[row * k + column] = (real)total[i][o][j][u];
                        }
                    }
                }
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(128) view_gradients_64(
    const real* z, i64 n, int m, int k, const double* weight, double spread, double outer, real* gradient) {
    extern __shared__ double shared[];
    Gradients<64>::run(shared, z, n, m, k, weight, spread, outer, gradient);
}

extern "C" __global__ void __launch_bounds__(256) view_gradients_128(
    const real* z, i64 n, int m, int k, const double* weight, double spread, double outer, real* gradient) {
    extern __shared__ double shared[];
    Gradients<128>::run(shared, z, n, m, k, weight, spread, outer, gradient);
}

extern "C" __global__ void __launch_bounds__(384) view_gradients_192(
    const real* z, i64 n, int m, int k, const double* weight, double spread, double outer, real* gradient) {
    extern __shared__ double shared[];
    Gradients<192>::run(shared, z, n, m, k, weight, spread, outer, gradient);
}

extern "C" __global__ void __launch_bounds__(512) view_gradients_256(
    const real* z, i64 n, int m, int k, const double* weight, double spread, double outer, real* gradient) {
    extern __shared__ double shared[];
    Gradients<256>::run(shared, z, n, m, k, weight, spread, outer, gradient);
}

extern "C" __global__ void sample_sums(const double* z, i64 n, i64 m, i64 k, int products, double* partial) {
    __shared__ double sums[WARPS][2];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    double within = 0, fourth = 0;
    for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
        const double* views = z + i * m * k;
        for (i64 c = lane; c < k; c += LANES) {
            double mean = 0;
            for (i64 a = 0; a < m; ++a) mean += views[a * k + c];
            mean /= (double)m;
            for (i64 a = 0; a < m; ++a) {
                const double difference = views[a * k + c] - mean;
                within += difference * difference;
            }
        }
        if (products) {
            for (i64 a = 0; a < m; ++a) {
                for (i64 b = 0; b <= a; ++b) {
                    const double product = product_of(views + a * k, views + b * k, k, lane);
                    fourth += (a == b ? 1.0 : 2.0) * product * product;
                }
            }
        }
    }
    within = warp_sum(within);
    if (lane == 0) {
        sums[warp][0] = within;
        sums[warp][1] = fourth;
    }
    __syncthreads();
    if (threadIdx.x < 2) {
        double total = 0;
        for (int w = 0; w < WARPS; ++w) total += sums[w][threadIdx.x];
        partial[2 * (i64)blockIdx.x + threadIdx.x] = total;
    }
}

extern "C" __global__ void finish_gradient(const double* z, double* product, i64 n, i64 m, i64 k, double spread, double outer,
                                real* gradient) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    for (i64 i = (i64)blockIdx.x * WARPS + warp; i < n; i += (i64)gridDim.x * WARPS) {
        const double* views = z + i * m * k;
        double* rows = product + i * m * k;
        if (outer != 0) {
            for (i64 a = 0; a < m; ++a) {
                for (i64 b = 0; b < m; ++b) {
                    const double factor = outer * product_of(views + b * k, views + a * k, k, lane);
                    for (i64 c = lane; c < k; c += LANES) rows[a * k + c] -= factor * views[b * k + c];
                }
            }
        }
        for (i64 c = lane; c < k; c += LANES) {
            double mean = 0;
            for (i64 a = 0; a < m; ++a) mean += views[a * k + c];
            mean /= (double)m;
            for (i64 a = 0; a < m; ++a) {
                const i64 at = a * k + c;
                gradient[i * m * k + at] = (real)(rows[at] + spread * (views[at] - mean));
            }
        }
    }
}
