// Views of samples: every stage of an augmentation, in place on views (n, m, d), C order.
//
// Formula   The laws are those of sslcore/augmentations; who draws what is the layout written down in
//           numba_cpu/philox.py: key = seed, counter = (draw block, view, sample, stage), and where each coordinate
//           needs a draw, coordinate j takes block j % B, lane j / B, B = ceil(d / 4).  The same bits as there, for
//           which this file is compiled with --fmad=false: log, sin, cos and 2^t are built from + - * / sqrt and
//           integer steps in the same order.
// Shapes    views (rows, d), rows = n m, row r is view r % m of sample first + r / m.  A branch of a mixture works on
//           the rows r with choice[r] == branch; branch < 0 means all rows.
// Owner     Stages that draw for each coordinate: one thread a draw block, which serves up to four coordinates, the
//           same for neighbouring threads, so that each lane's loads and stores are coalesced.  Stages on images: one
//           thread a pixel (all channels), or a pair of pixels that change places.  Stages that draw for each view and
//           move or negate coordinates: one thread a coordinate.  Steps on the sphere: a warp a view, a lane every 32nd
//           coordinate.
// Bound by  Memory for flips (two bytes moved for each of the views' bytes), arithmetic for normals: some 90
//           operations in float64 and 60 in integers a pair.  An image's affine map and a shift read from a copy of the
//           views.  Where all coordinates of a view need its one draw, each thread makes it again: ten rounds of
//           Philox, less than an access to memory.  Steps on the sphere read views and normals twice, and write both
//           once; their sums are added in the order of the CPU's.
//
//           Laws of series and colours read what a view draws or needs once (normals, means, speeds) from a small
//           table, made by a kernel before.  A blur goes along rows into float64, then along columns; each thread makes
//           the weights again.
//
// A stage more is a kernel here with the arguments (views, [a copy, or tables,] rows, d, m, first, stage, k0, k1,
// choice, branch, its own numbers), and a line in the table of augment.py.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// ---------------------------------------------------------------- Philox4x32-10

struct Words {
    u32 w[4];
};

__device__ inline Words philox(u32 c0, u32 c1, u32 c2, u32 c3, u32 k0, u32 k1) {
    for (int round = 0; round < 10; ++round) {
        const u64 p0 = (u64)0xD2511F53u * c0;
        const u64 p1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}

__device__ inline Words draw(i64 row, u32 block, i64 m, u64 first, u32 stage, u32 k0, u32 k1) {
    const u64 sample = first + (u64)(row / m);
    return philox(block, (u32)(row % m), (u32)sample, (u32)(sample >> 32) | (stage << 24), k0, k1);
}

// ---------------------------------------------------------------- elementary functions, as on the CPU

__device__ inline u64 bits_of(double x) { return (u64)__double_as_longlong(x); }
__device__ inline double float_of_bits(u64 b) { return __longlong_as_double((i64)b); }

__device__ inline double float_of(u64 i) {  // for i < 2^52
    return float_of_bits(i | 0x4330000000000000ull) - 4503599627370496.0;
}

__device__ inline double uniform(u32 w) { return (float_of(w) + 0.5) * 2.3283064365386963e-10; }  // 2^-32

// -2 log((w + 1/2) 2^-32); coefficients of fdlibm's log, doubled
__device__ inline double minus_two_log(u32 word) {
    const u64 w = word;
    const u64 v = bits_of(float_of(w + w + 1));
    const u64 t = v - 0x3FE6A09E667F3BCDull;
    const double m = float_of_bits(v - (t & 0xFFF0000000000000ull));
    const double k = (33.0 + 4503599627370496.0) - float_of_bits((t >> 52) | 0x4330000000000000ull);
    const double f = m - 1.0;
    const double s = f / (m + 1.0);
    const double z = s * s;
    const double h = f * f;
    const double l1 = 2.0 * 6.666666666666735130e-01, l2 = 2.0 * 3.999999999940941908e-01;
    const double l3 = 2.0 * 2.857142874366239149e-01, l4 = 2.0 * 2.222219843214978396e-01;
    const double l5 = 2.0 * 1.818357216161805012e-01, l6 = 2.0 * 1.531383769920937332e-01;
    const double l7 = 2.0 * 1.479819860511658591e-01;
    const double r = z * (l1 + z * (l2 + z * (l3 + z * (l4 + z * (l5 + z * (l6 + z * l7))))));
    return k * 1.3862943611198906 + ((h - s * (h + r)) - (f + f));  // 2 log 2
}

struct Pair {
    double a, b;
};

// (cos x, sin x) for |x| <= pi/4
__device__ inline Pair cos_sin_quarter(double x) {
    const double c1 = 4.16666666666666019037e-02, c2 = -1.38888888888741095749e-03, c3 = 2.48015872894767294178e-05;
    const double c4 = -2.75573143513906633035e-07, c5 = 2.08757232129817482790e-09, c6 = -1.13596475577881948265e-11;
    const double s1 = -1.66666666666666324348e-01, s2 = 8.33333333332248946124e-03, s3 = -1.98412698298579493134e-04;
    const double s4 = 2.75573137070700676789e-06, s5 = -2.50507602534068634195e-08, s6 = 1.58969099521155010221e-10;
    const double z = x * x;
    const double cosine = 1.0 + z * (-0.5 + z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * (c5 + z * c6))))));
    const double sine = x + x * (z * (s1 + z * (s2 + z * (s3 + z * (s4 + z * (s5 + z * s6))))));
    return Pair{cosine, sine};
}

// Adding this to |x| < 2^50 rounds x to the nearest integer, which is then in the low bits.
#define ROUND 6755399441055744.0

__device__ inline Pair cos_sin(double turns) {
    const double shifted = 4.0 * turns + ROUND;
    const Pair p = cos_sin_quarter((turns - 0.25 * (shifted - ROUND)) * 6.283185307179586);
    const u64 quadrant = bits_of(shifted) & 3ull;
    const Pair q = (quadrant & 1ull) ? Pair{-p.b, p.a} : p;
    return (quadrant >> 1) ? Pair{-q.a, -q.b} : q;
}

__device__ inline double exp2_of(double t) {
    const double k = (t + ROUND) - ROUND;
    const double r = (t - k) * 0.6931471805599453;
    double e = 1.0;
    for (int i = 14; i > 0; --i) e = 1.0 + e * r / (double)i;
    return e * float_of_bits((u64)((i64)k + 1023) << 52);
}

// A pair of standard normals from a pair of words
__device__ inline Pair box_muller(u32 u, u32 v) {
    const u64 w = v;
    const double x = (float_of(w & 0x3FFFFFFFull) - (536870912.0 - 0.5)) * (6.283185307179586 * 2.3283064365386963e-10);
    double r = sqrt(minus_two_log(u));
    r = float_of_bits(bits_of(r) | ((w << 32) & 0x8000000000000000ull));
    const Pair p = cos_sin_quarter(x);
    const bool exchanged = (w >> 30) & 1ull;
    return Pair{r * (exchanged ? p.b : p.a), r * (exchanged ? p.a : p.b)};
}

// ---------------------------------------------------------------- a draw for each coordinate

__device__ inline i64 thread_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline bool skipped(i64 row, const int* choice, int branch) { return branch >= 0 && choice[row] != branch; }

extern "C" __global__ void add_normals(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                       const int* choice, int branch, double scale) {
    const i64 blocks = (d + 3) / 4, t = thread_index();
    if (t >= rows * blocks) return;
    const i64 row = t / blocks, block = t % blocks;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, (u32)block, m, first, stage, k0, k1);
    real* view = views + row * d;
    for (int lane = 0; lane < 4; lane += 2) {
        const i64 j = lane * blocks + block, next = j + blocks;
        if (j >= d) return;
        const Pair z = box_muller(words.w[lane], words.w[lane + 1]);
        view[j] = (real)((double)view[j] + scale * z.a);  // in float64, rounded once
        if (next < d) view[next] = (real)((double)view[next] + scale * z.b);
    }
}

extern "C" __global__ void flip_signs(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                      const int* choice, int branch, i64 threshold) {
    const i64 blocks = (d + 3) / 4, t = thread_index();
    if (t >= rows * blocks) return;
    const i64 row = t / blocks, block = t % blocks;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, (u32)block, m, first, stage, k0, k1);
    for (int lane = 0; lane < 4; ++lane) {
        const i64 j = lane * blocks + block;
        if (j < d && (i64)words.w[lane] < threshold) views[row * d + j] = -views[row * d + j];
    }
}

extern "C" __global__ void resample_signs(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                          const int* choice, int branch, i64 threshold) {
    const i64 blocks = (d + 3) / 4, t = thread_index();
    if (t >= rows * blocks) return;
    const i64 row = t / blocks, block = t % blocks;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, (u32)block, m, first, stage, k0, k1);
    for (int lane = 0; lane < 4; ++lane) {
        const i64 j = lane * blocks + block, w = words.w[lane];
        if (j < d && (w >> 1) < threshold) views[row * d + j] = (w & 1) ? (real)-1 : (real)1;
    }
}

// ---------------------------------------------------------------- a draw for each view

// Index of the first threshold above the word; the last one is 2^32
__device__ inline i64 pick(u32 word, const i64* thresholds, i64 count) {
    i64 low = 0, high = count - 1;
    while (low < high) {
        const i64 middle = (low + high) / 2;
        if ((i64)word < thresholds[middle]) high = middle;
        else low = middle + 1;
    }
    return low;
}

// chosen[row] = the branch of a mixture that makes the row, or -1 if it is not in the outer branch
extern "C" __global__ void choose(int* chosen, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                  const int* choice, int branch, const i64* thresholds, i64 count) {
    const i64 row = thread_index();
    if (row >= rows) return;
    const bool inside = !skipped(row, choice, branch);
    chosen[row] = inside ? (int)pick(draw(row, 0, m, first, stage, k0, k1).w[0], thresholds, count) : -1;
}

extern "C" __global__ void keep_window(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                       const int* choice, int branch, i64 width, i64 cyclic) {
    const i64 blocks = (d + 3) / 4, t = thread_index();
    if (t >= rows * blocks) return;
    const i64 row = t / blocks, block = t % blocks;
    if (skipped(row, choice, branch)) return;
    const i64 starts = cyclic ? d : d - width + 1;
    const Words words = draw(row, (u32)block, m, first, stage, k0, k1);
    const u32 w = block == 0 ? words.w[0] : draw(row, 0, m, first, stage, k0, k1).w[0];
    const i64 start = ((i64)(w >> 1) * starts) >> 31;
    for (int lane = 0; lane < 4; ++lane) {
        const i64 j = lane * blocks + block;
        const i64 place = j >= start ? j - start : j - start + d;
        if (j < d && place >= width) views[row * d + j] = (words.w[lane] & 1u) ? (real)-1 : (real)1;
    }
}

// The second block of an entry, B further on, says which row of the table (count, d) takes its place
extern "C" __global__ void draw_from_columns(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                             const int* choice, int branch, i64 threshold, const double* table,
                                             i64 count) {
    const i64 blocks = (d + 3) / 4, t = thread_index();
    if (t >= rows * blocks) return;
    const i64 row = t / blocks, block = t % blocks;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, (u32)block, m, first, stage, k0, k1);
    const Words places = draw(row, (u32)(blocks + block), m, first, stage, k0, k1);
    for (int lane = 0; lane < 4; ++lane) {
        const i64 j = lane * blocks + block;
        if (j < d && (i64)words.w[lane] < threshold)
            views[row * d + j] = (real)table[(((i64)places.w[lane] * count) >> 32) * d + j];
    }
}

extern "C" __global__ void flip_all_signs(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                          const int* choice, int branch, i64 threshold) {
    const i64 t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d;
    if (skipped(row, choice, branch)) return;
    if ((i64)draw(row, 0, m, first, stage, k0, k1).w[0] < threshold) views[t] = -views[t];
}

extern "C" __global__ void roll(real* views, const real* source, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0,
                                u32 k1, const int* choice, int branch, const i64* thresholds, i64 count) {
    const i64 t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, j = t % d;
    if (skipped(row, choice, branch)) return;
    const i64 a = pick(draw(row, 0, m, first, stage, k0, k1).w[0], thresholds, count);
    views[t] = source[row * d + (j >= a ? j - a : j - a + d)];
}

extern "C" __global__ void reverse(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                   const int* choice, int branch, i64 threshold) {
    const i64 half = d / 2, t = thread_index();
    if (t >= rows * half) return;
    const i64 row = t / half, j = t % half;
    if (skipped(row, choice, branch)) return;
    if ((i64)draw(row, 0, m, first, stage, k0, k1).w[0] >= threshold) return;
    real* view = views + row * d;
    const real kept = view[j];
    view[j] = view[d - 1 - j];
    view[d - 1 - j] = kept;
}

// ---------------------------------------------------------------- steps on the sphere

#define THREADS 256
#define WIDTH 32

// The sum, and the largest, of the values of a warp, added by halves: every lane has it
__device__ inline double warp_sum(double value) {
    for (int half = WIDTH / 2; half > 0; half /= 2) value += __shfl_xor_sync(0xffffffffu, value, half);
    return value;
}

__device__ inline double warp_max(double value) {
    for (int half = WIDTH / 2; half > 0; half /= 2) value = fmax(value, __shfl_xor_sync(0xffffffffu, value, half));
    return value;
}

// x <- cos x + sin |x| H (0, g) / |g|, where H, the reflection that takes x to a multiple of the first unit vector,
// takes all vectors (0, g) to tangent ones; sums are those of |x|^2, <x, (0, g)>, |(0, g)|^2.
extern "C" __global__ void step_on_sphere(real* views, const double* normals, i64 rows, i64 d, i64 m, u64 first,
                                          u32 stage, u32 k0, u32 k1, const int* choice, int branch, double drop,
                                          i64 of_plane) {
    const i64 row = thread_index() / WIDTH;
    const int lane = threadIdx.x % WIDTH;
    if (row >= rows || skipped(row, choice, branch)) return;
    real* x = views + row * d;
    const double* g = normals + row * d;
    const double first_of_x = (double)x[0];
    double unit = 1.0, inverse = 1.0, xx = 0.0, xg = 0.0, gg = 0.0;
    for (int again = 0; again < 2; ++again) {
        double sums[3] = {0.0, 0.0, 0.0}, largest = 0.0;
        for (i64 j = lane; j < d; j += WIDTH) {
            const double xj = (double)x[j] * inverse, gj = j > 0 ? g[j] : 0.0;
            sums[0] += xj * xj;
            sums[1] += xj * gj;
            sums[2] += gj * gj;
            largest = fmax(largest, fabs(xj));
        }
        xx = warp_sum(sums[0]), xg = warp_sum(sums[1]), gg = warp_sum(sums[2]);
        if (again || (xx > 1e-280 && xx < 1e300)) break;
        int exponent;  // of the largest entry: in this unit squares neither overflow nor vanish
        frexp(warp_max(largest), &exponent);
        exponent = exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent;
        unit = ldexp(1.0, exponent), inverse = ldexp(1.0, -exponent);
    }
    const double norm = sqrt(xx), along = xg, length = sqrt(gg);
    double share = 1.0;
    if (of_plane && d > 2) {
        const u32 w = draw(row, (u32)((d + 3) / 4), m, first, stage, k0, k1).w[0];
        share = 1.0 - exp2_of(-minus_two_log(w) / ((double)(d - 2) * 0.6931471805599453));
    }
    const double lost = drop * share;
    const double cosine = 1.0 - lost, sine = sqrt(lost * (2.0 - lost));
    const double q = norm > 0.0 ? along / (norm + fabs(first_of_x * inverse)) : 0.0;
    __syncwarp();  // all lanes have read x[0]
    const double a = sine * norm / length * unit, b = sine * q / length, c = sine * along / length * unit;
    for (i64 j = lane; j < d; j += WIDTH) {
        const double xj = (double)x[j];
        x[j] = (real)(j > 0 ? cosine * xj + (a * g[j] - b * xj) : cosine * xj - (xj >= 0.0 ? c : -c));
    }
}

// ---------------------------------------------------------------- a few draws for each image (height, width, channels)

extern "C" __global__ void flip_columns(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                        const int* choice, int branch, i64 height, i64 width, i64 channels,
                                        i64 threshold) {
    const i64 half = width / 2, pairs = height * half, t = thread_index();
    if (t >= rows * pairs) return;
    const i64 row = t / pairs, pair = t % pairs;
    if (skipped(row, choice, branch)) return;
    if ((i64)draw(row, 0, m, first, stage, k0, k1).w[0] >= threshold) return;
    const i64 r = pair / half, q = pair % half;
    real* left = views + row * d + (r * width + q) * channels;
    real* right = views + row * d + (r * width + width - 1 - q) * channels;
    for (i64 c = 0; c < channels; ++c) {
        const real kept = left[c];
        left[c] = right[c];
        right[c] = kept;
    }
}

extern "C" __global__ void erase_square(real* views, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                        const int* choice, int branch, i64 height, i64 width, i64 channels, i64 size) {
    const i64 pixels = size * size, t = thread_index();
    if (t >= rows * pixels) return;
    const i64 row = t / pixels, pixel = t % pixels;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, 0, m, first, stage, k0, k1);
    const i64 top = ((i64)words.w[0] * (height - size + 1)) >> 32;
    const i64 left = ((i64)words.w[1] * (width - size + 1)) >> 32;
    real* at = views + row * d + ((top + pixel / size) * width + left + pixel % size) * channels;
    for (i64 c = 0; c < channels; ++c) at[c] = (real)0;
}

__device__ inline double clip(double t, double upper) {
    t = t > 0.0 ? t : 0.0;
    return t < upper ? t : upper;
}

// The image with a frame of zeros around it: row i and column j count from 1 inside
__device__ inline double pixel_at(const real* image, i64 i, i64 j, i64 c, i64 height, i64 width, i64 channels) {
    const bool inside = i >= 1 && i <= height && j >= 1 && j <= width;
    return inside ? (double)image[((i - 1) * width + j - 1) * channels + c] : 0.0;
}

extern "C" __global__ void affine(real* views, const real* source, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0,
                                  u32 k1, const int* choice, int branch, i64 height, i64 width, i64 channels,
                                  double turns, double log2_zoom, double shift) {
    const i64 pixels = height * width, t = thread_index();
    if (t >= rows * pixels) return;
    const i64 row = t / pixels, pixel = t % pixels, r = pixel / width, q = pixel % width;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, 0, m, first, stage, k0, k1);
    const Pair angle = cos_sin(turns * (2.0 * uniform(words.w[0]) - 1.0));
    const double inverse_zoom = exp2_of(log2_zoom * (2.0 * uniform(words.w[1]) - 1.0));
    const double a = angle.a * inverse_zoom, b = angle.b * inverse_zoom;
    const double middle_row = 0.5 * (double)(height - 1), middle_column = 0.5 * (double)(width - 1);
    const double down = -middle_row - shift * (2.0 * uniform(words.w[2]) - 1.0);
    const double right = -middle_column - shift * (2.0 * uniform(words.w[3]) - 1.0);
    const double at_row = 1.0 + middle_row + (a * (down + (double)r) + b * right);
    const double at_column = 1.0 + middle_column + (a * right - b * (down + (double)r));
    // places further out are moved into the frame, where all is zero
    const double y = clip(at_row + b * (double)q, (double)height + 1.0);
    const double x = clip(at_column + a * (double)q, (double)width + 1.0);
    const i64 i = (i64)y, j = (i64)x;
    const double lower_share = y - (double)i, right_share = x - (double)j;
    const real* image = source + row * d;
    for (i64 c = 0; c < channels; ++c) {
        const double v00 = pixel_at(image, i, j, c, height, width, channels);
        const double v01 = pixel_at(image, i, j + 1, c, height, width, channels);
        const double v10 = pixel_at(image, i + 1, j, c, height, width, channels);
        const double v11 = pixel_at(image, i + 1, j + 1, c, height, width, channels);
        const double upper = v00 + right_share * (v01 - v00);
        const double lower = v10 + right_share * (v11 - v10);
        views[row * d + pixel * channels + c] = (real)(upper + lower_share * (lower - upper));
    }
}

// A place, moved to [0, last], between two entries
struct Between {
    i64 before, after;
    double share;
};

__device__ inline Between between(double place, double last) {
    place = place > 0.0 ? place : 0.0;
    place = place < last ? place : last;
    const i64 before = (i64)place;
    return Between{before, before + 1 < (i64)last ? before + 1 : (i64)last, place - (double)before};
}

extern "C" __global__ void resized_crop(real* views, const real* source, i64 rows, i64 d, i64 m, u64 first, u32 stage,
                                        u32 k0, u32 k1, const int* choice, int branch, i64 height, i64 width,
                                        i64 channels, double smallest, double log2_ratio) {
    const i64 pixels = height * width, t = thread_index();
    if (t >= rows * pixels) return;
    const i64 row = t / pixels, pixel = t % pixels, r = pixel / width, q = pixel % width;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, 0, m, first, stage, k0, k1);
    const double area = smallest + (1.0 - smallest) * uniform(words.w[0]);
    const double taller = exp2_of(log2_ratio * (2.0 * uniform(words.w[1]) - 1.0));
    const double high = sqrt(area * taller), across = sqrt(area / taller);
    const double tall = high < 1.0 ? high : 1.0, wide = across < 1.0 ? across : 1.0;
    const double top = uniform(words.w[2]) * ((double)height - tall * (double)height);
    const double left = uniform(words.w[3]) * ((double)width - wide * (double)width);
    const Between y = between((top + tall * ((double)r + 0.5)) - 0.5, (double)height - 1.0);
    const Between x = between((left + wide * ((double)q + 0.5)) - 0.5, (double)width - 1.0);
    const real* image = source + row * d;
    for (i64 c = 0; c < channels; ++c) {
        const double v00 = (double)image[(y.before * width + x.before) * channels + c];
        const double v01 = (double)image[(y.before * width + x.after) * channels + c];
        const double v10 = (double)image[(y.after * width + x.before) * channels + c];
        const double v11 = (double)image[(y.after * width + x.after) * channels + c];
        const double upper = v00 + x.share * (v01 - v00);
        const double lower = v10 + x.share * (v11 - v10);
        views[row * d + pixel * channels + c] = (real)(upper + y.share * (lower - upper));
    }
}

// The colour differences red - grey and blue - grey turn in units of 0.877 and 0.492
extern "C" __global__ void color_jitter(real* views, const double* moments, i64 rows, i64 d, i64 m, u64 first,
                                        u32 stage, u32 k0, u32 k1, const int* choice, int branch, i64 height,
                                        i64 width, i64 channels, double brightest, double most_contrast,
                                        double most_saturation, double most_hue) {
    const double of_red = 0.299, of_green = 0.587, of_blue = 0.114, blue_to_red = 0.877 / 0.492;
    const i64 pixels = height * width, t = thread_index();
    if (t >= rows * pixels) return;
    const i64 row = t / pixels;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, 0, m, first, stage, k0, k1);
    const double brightness = brightest * (2.0 * uniform(words.w[0]) - 1.0);
    const double contrast = most_contrast * (2.0 * uniform(words.w[1]) - 1.0);
    real* x = views + row * d + (t % pixels) * channels;
    double changed[3];
    for (i64 c = 0; c < channels; ++c) {
        double mean = moments[2 * (row * channels + c)], value = (double)x[c];
        mean += brightness * mean;
        value += brightness * value;
        value = value + contrast * (value - mean);
        if (channels == 3)
            changed[c] = value;
        else
            x[c] = (real)value;
    }
    if (channels != 3) return;
    const double saturation = most_saturation * (2.0 * uniform(words.w[2]) - 1.0);
    const Pair turn = cos_sin(most_hue * (2.0 * uniform(words.w[3]) - 1.0));
    double red = changed[0], green = changed[1], blue = changed[2];
    const double grey = (of_red * red + of_green * green) + of_blue * blue;
    red += saturation * (red - grey);
    green += saturation * (green - grey);
    blue += saturation * (blue - grey);
    const double to_red = red - grey, to_blue = blue - grey;
    const double more_red = (turn.a - 1.0) * to_red + turn.b / blue_to_red * to_blue;
    const double more_blue = (turn.a - 1.0) * to_blue - turn.b * blue_to_red * to_red;
    x[0] = (real)(red + more_red);
    x[1] = (real)(green - (of_red * more_red + of_blue * more_blue) / of_green);
    x[2] = (real)(blue + more_blue);
}

// One value smoothed along one direction: of `length` values, `step` apart, number `at`
template <typename value>
__device__ inline double smoothed(const value* line, i64 length, i64 step, i64 at, double sigma, i64 reach) {
    double total = 1.0, sum = (double)line[at * step];
    for (i64 k = 1; k <= reach; ++k) {
        const double ratio = (double)k / sigma, exponent = -0.7213475204444817 * (ratio * ratio);  // log2(e) / 2
        const double weight = exp2_of(exponent > -1000.0 ? exponent : -1000.0);
        const i64 low = at > k ? at - k : 0, high = at + k < length ? at + k : length - 1;
        total += 2.0 * weight;
        sum += weight * ((double)line[low * step] + (double)line[high * step]);
    }
    return sum / total;
}

// Along the rows of the image, into float64; `blur` goes on along its columns
extern "C" __global__ void blur_rows(const real* views, double* smooth, i64 rows, i64 d, i64 m, u64 first, u32 stage,
                                     u32 k0, u32 k1, const int* choice, int branch, i64 height, i64 width,
                                     i64 channels, double scale, i64 reach) {
    const i64 t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, j = t % d, r = j / (width * channels), q = j / channels % width, c = j % channels;
    if (skipped(row, choice, branch)) return;
    const double sigma = scale * uniform(draw(row, 0, m, first, stage, k0, k1).w[0]);
    smooth[t] = smoothed(views + row * d + r * width * channels + c, width, channels, q, sigma, reach);
}

extern "C" __global__ void blur(real* views, const double* smooth, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0,
                                u32 k1, const int* choice, int branch, i64 height, i64 width, i64 channels,
                                double scale, i64 reach) {
    const i64 t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, j = t % d, length = width * channels;
    if (skipped(row, choice, branch)) return;
    const double sigma = scale * uniform(draw(row, 0, m, first, stage, k0, k1).w[0]);
    views[t] = (real)smoothed(smooth + row * d + j % length, height, length, j / length, sigma, reach);
}

// ---------------------------------------------------------------- a few draws for each series (channels, times)

// Normals (rows, groups, count): number i of group g is on lane i % 4 of draw block g B + i / 4, B = ceil(count / 4)
extern "C" __global__ void few_normals(double* normals, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                       const int* choice, int branch, i64 groups, i64 count) {
    const i64 blocks = (count + 3) / 4, t = thread_index();
    if (t >= rows * groups * blocks) return;
    const i64 row = t / (groups * blocks), number = t % (groups * blocks), start = number % blocks * 4;
    if (skipped(row, choice, branch)) return;
    const Words words = draw(row, (u32)number, m, first, stage, k0, k1);
    double* z = normals + (row * groups + number / blocks) * count;
    for (int lane = 0; lane < 4; lane += 2) {
        const Pair pair = box_muller(words.w[lane], words.w[lane + 1]);
        if (start + lane < count) z[start + lane] = pair.a;
        if (start + lane + 1 < count) z[start + lane + 1] = pair.b;
    }
}

// Mean and standard deviation (rows, channels, 2) of each channel: a warp each, partial sums of every 32nd value.
// Values of a channel follow each other, or lie `channels` apart (interleaved: the pixels of an image)
extern "C" __global__ void channel_moments(const real* views, double* moments, i64 rows, i64 d, i64 m, u64 first,
                                           u32 stage, u32 k0, u32 k1, const int* choice, int branch, i64 channels,
                                           i64 interleaved) {
    const i64 warp = thread_index() / WIDTH, row = warp / channels, c = warp % channels, count = d / channels;
    const int lane = threadIdx.x % WIDTH;
    if (row >= rows || skipped(row, choice, branch)) return;
    const i64 step = interleaved ? channels : 1;
    const real* x = views + row * d + (interleaved ? c : c * count);
    double mean = 0.0, unit = 1.0, total = 0.0;
    for (int pass = 0; pass < 3; ++pass) {  // the mean, the unit, the squares in this unit, which cannot overflow
        double sum = 0.0;
        for (i64 i = lane; i < count; i += WIDTH) {
            const double value = ((double)x[i * step] - mean) / unit;
            sum = pass == 1 ? fmax(sum, fabs(value)) : sum + (pass ? value * value : value);
        }
        total = pass == 1 ? warp_max(sum) : warp_sum(sum);
        if (pass == 0) mean = total / (double)count;
        int exponent = 0;
        if (pass == 1) {
            frexp(total, &exponent);
            unit = ldexp(1.0, exponent - 1);
        }
    }
    if (lane) return;
    moments[2 * warp] = mean;
    moments[2 * warp + 1] = unit * sqrt(total / (double)count);
}

extern "C" __global__ void jitter(real* views, const double* moments, const double* normals, i64 rows, i64 d, i64 m,
                                  u64 first, u32 stage, u32 k0, u32 k1, const int* choice, int branch, i64 channels,
                                  double scale) {
    const i64 t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, c = t % d / (d / channels);
    if (skipped(row, choice, branch)) return;
    const double spread = scale * moments[2 * (row * channels + c) + 1];
    views[t] = (real)((double)views[t] + spread * normals[t]);
}

extern "C" __global__ void scale_channels(real* views, const double* normals, i64 rows, i64 d, i64 m, u64 first,
                                          u32 stage, u32 k0, u32 k1, const int* choice, int branch, i64 channels,
                                          double scale) {
    const i64 t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, c = t % d / (d / channels);
    if (skipped(row, choice, branch)) return;
    const double x = (double)views[t], change = scale * normals[row * channels + c];
    views[t] = (real)(x + change * x);
}

extern "C" __global__ void magnitude_warp(real* views, const double* normals, i64 rows, i64 d, i64 m, u64 first,
                                          u32 stage, u32 k0, u32 k1, const int* choice, int branch, i64 channels,
                                          i64 knots, double scale) {
    const i64 times = d / channels, t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, c = t % d / times, j = t % d % times;
    if (skipped(row, choice, branch)) return;
    const double place = (double)j * (double)(knots + 1) / (double)(times > 1 ? times - 1 : 1);
    const i64 k = (i64)place < knots ? (i64)place : knots;
    const double* z = normals + (row * channels + c) * (knots + 4) + k;
    const double f = place - (double)k, x = (double)views[t];
    const double cubic = (3.0 * (z[1] - z[2]) + z[3]) - z[0];
    const double square = ((2.0 * z[0] - 5.0 * z[1]) + 4.0 * z[2]) - z[3];
    const double curve = z[1] + 0.5 * f * ((z[2] - z[0]) + f * (square + f * cubic));
    views[t] = (real)(x + scale * curve * x);
}

// Speeds of the pieces (rows, knots + 1), of normals, which they take the place of: one thread a view
extern "C" __global__ void speeds(double* table, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0, u32 k1,
                                  const int* choice, int branch, i64 knots, double scale) {
    const i64 t = thread_index();
    if (t >= rows * (knots + 1)) return;
    if (!skipped(t / (knots + 1), choice, branch)) table[t] = exp2_of(scale * table[t]);
}

__device__ inline real interpolated(const real* series, Between at) {
    const double left = (double)series[at.before];
    return (real)(left + at.share * ((double)series[at.after] - left));
}

extern "C" __global__ void time_warp(real* views, const real* source, const double* table, i64 rows, i64 d, i64 m,
                                     u64 first, u32 stage, u32 k0, u32 k1, const int* choice, int branch, i64 channels,
                                     i64 knots, double scale) {
    const i64 times = d / channels, t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, c = t % d / times, j = t % d % times;
    if (skipped(row, choice, branch)) return;
    const double pieces = (double)(knots + 1), end = (double)(times - 1);
    const double place = (double)j * pieces / (double)(times > 1 ? times - 1 : 1);
    const i64 k = (i64)place < knots ? (i64)place : knots;
    const double* speed = table + row * (knots + 1);
    double passed = 0.0, total = 0.0;
    for (i64 i = 0; i <= knots; ++i) {
        if (i == k) passed = total;
        total += speed[i];
    }
    const double moved = (passed + (place - (double)k) * speed[k]) / total - place / pieces;
    views[t] = interpolated(source + row * d + c * times, between((double)j + end * moved, end));
}

extern "C" __global__ void window(real* views, const real* source, i64 rows, i64 d, i64 m, u64 first, u32 stage, u32 k0,
                                  u32 k1, const int* choice, int branch, i64 channels, double part) {
    const i64 times = d / channels, t = thread_index();
    if (t >= rows * d) return;
    const i64 row = t / d, c = t % d / times, j = t % d % times;
    if (skipped(row, choice, branch)) return;
    const double end = (double)(times - 1);
    const double start = uniform(draw(row, 0, m, first, stage, k0, k1).w[0]) * ((1.0 - part) * end);
    views[t] = interpolated(source + row * d + c * times, between(start + part * (double)j, end));
}
