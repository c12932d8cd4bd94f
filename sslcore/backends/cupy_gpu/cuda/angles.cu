// Kernels of the angle of two points and of their lengths: wide networks of rectifiers.
//
// Formula   On versines v = 1 - cos(angle), in which nothing cancels: kappa0 = 1 - angle / pi and
//           1 - kappa1 = v - (sin - angle cos) / pi, up to its sign when an angle is rounding.  With a the variance of
//           the biases, g half that of the weights, r and s the norms of x and y in a layer times sqrt(g), and R and S
//           the norms after it, the next versine is
//           (a (r - s)^2 / (R S + a + r s) + r s (1 - kappa1)) / (R S), as (R S)^2 = (a + r s)^2 + a (r - s)^2.
//           Obtuse angles, of the first layer only as kappa1 >= 0, are told by their supplements.
// Shapes    out (rows, columns) with leading dimension ld: products of the unit vectors x (rows, d) and y (columns, d),
//           C order, replaced by values; lengths_x (layers, rows) and lengths_y (layers, columns), the norms times
//           sqrt(g).
// Owner     A thread finishes one value after the other of its column.
// Bound by  Two square roots and an arcsine a layer, some 60 operations; with one layer, reading and writing the
//           values.  Pairs that are computed again cost d steps of their thread alone; they are views of one sample, a
//           few a row.

#ifndef SSL_REAL
#define SSL_REAL double
#endif

typedef SSL_REAL real;
typedef long long i64;

enum { STEP = 0, QUADRATIC = 1, NNGP = 2, NTK = 3 };

#define OVER_PI ((real)0.31830988618379067)

struct Angle {
    real versine;  // of the angle or of its supplement, whichever is acute
    bool acute;
};

struct Kappas {
    real step, ramp, rest;  // kappa0, kappa1, 1 - kappa1
};

__device__ inline real turn_of(real versine) {
    return 2 * asin(sqrt(versine / 2));
}

__device__ inline Kappas kappas(Angle angle) {
    const real v = angle.versine, c = 1 - v, turn = turn_of(v);
    const real bulge = (sqrt(v * (2 - v)) - turn * c) * OVER_PI;
    if (angle.acute) return {1 - turn * OVER_PI, c + bulge, v < bulge ? bulge - v : v - bulge};
    return {turn * OVER_PI, bulge, 1 - bulge};
}

__device__ inline real quadratic(Angle angle, real product) {
    const real v = angle.versine, c = 1 - v, twice = 1 + 2 * c * c;
    const real bulge = (3 * sqrt(v * (2 - v)) * c - turn_of(v) * twice) * OVER_PI;
    return product * product * (angle.acute ? twice + bulge : -bulge);
}

extern "C" __global__ void finish_angles(real* out, i64 rows, i64 columns, i64 ld, const real* x, const real* y, i64 d,
                                         const real* lengths_x, const real* lengths_y, i64 layers, real near,
                                         int recursion, real a, real g) {
    const i64 j = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= columns) return;
    for (i64 i = blockIdx.y; i < rows; i += gridDim.y) {
        real* value = out + i * ld + j;
        const real cosine = *value;
        Angle angle = {1 - (cosine < 0 ? -cosine : cosine), !(cosine < 0)};
        if (angle.versine < near) {
            real total = 0;
            for (i64 c = 0; c < d; ++c) {
                const real difference = angle.acute ? x[i * d + c] - y[j * d + c] : x[i * d + c] + y[j * d + c];
                total += difference * difference;
            }
            angle.versine = total / 2;
        }
        if (recursion == STEP) {
            *value = kappas(angle).step;
            continue;
        }
        real r = lengths_x[i], s = lengths_y[j];
        if (recursion == QUADRATIC) {
            *value = quadratic(angle, r * s);
            continue;
        }
        real covariance = r * s * (angle.acute ? 1 - angle.versine : angle.versine - 1), tangent = covariance;
        for (i64 layer = 0; layer < layers; ++layer) {
            const real product = r * s, gap = r - s;
            const Kappas k = kappas(angle);
            covariance = a + product * k.ramp;
            tangent = covariance + tangent * k.step;
            if (layer + 1 == layers) break;
            tangent *= g;
            r = lengths_x[(layer + 1) * rows + i];
            s = lengths_y[(layer + 1) * columns + j];
            const real norms = r * s / g;
            angle.versine = a == 0 ? k.rest : (a * gap * gap / (norms + a + product) + product * k.rest) / norms;
            angle.acute = true;
        }
        *value = recursion == NTK ? tangent : covariance;
    }
}
