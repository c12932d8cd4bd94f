"""One oracle for each public function, too simple to be wrong: loops, formulas, no speed.

Sections are in the order of the library's modules.
"""

from __future__ import annotations

import functools
import math

import mpmath
import numpy as np
import scipy.linalg

from sslcore.augmentations import GaussianNoise

# ---------------------------------------------------------------- kernels and Gram matrices
# One pair of points at a time, in the widest float there is (64 bits of mantissa on x86).


def distance(x, y):
    return np.sqrt(np.sum((x - y) ** 2))


def gaussian(k, x, y):
    return np.exp(-np.sum((x - y) ** 2) / (2 * np.longdouble(k.scale) ** 2))


def exponential(k, x, y):
    return np.exp(-distance(x, y) / np.longdouble(k.scale))


def l1_exponential(k, x, y):
    return np.exp(-np.sum(np.abs(x - y)) / np.longdouble(k.scale))


def matern(k, x, y):
    """Rasmussen and Williams 2006, equations 4.16 and 4.17."""
    s = np.sqrt(2 * np.longdouble(k.nu)) * distance(x, y) / np.longdouble(k.scale)
    return {0.5: 1, 1.5: 1 + s, 2.5: 1 + s + s**2 / 3}[k.nu] * np.exp(-s)


def polynomial(k, x, y):
    return (np.sum(x * y) + np.longdouble(k.offset)) ** k.degree


def linear(k, x, y):
    return np.sum(x * y)


def periodic_gaussian(k, x, y):
    """Coordinate by coordinate, the terms of the sum over the integers that are not below 1e-22."""
    s = np.longdouble(k.scale)
    n = np.arange(-math.ceil(10 * k.scale + 1), math.ceil(10 * k.scale + 1) + 1)
    t = x - y
    t = t - np.rint(t)
    return np.prod([np.sum(np.exp(-((tc + n) ** 2) / (2 * s**2))) for tc in t])


def von_mises(k, x, y):
    """1 - cos(2 pi t) = 2 sin(pi t)^2; pi to 64 bits."""
    t = x - y
    t = t - np.rint(t)
    return np.exp(-2 * np.sum(np.sin(4 * np.arctan(np.longdouble(1)) * t) ** 2) / np.longdouble(k.scale) ** 2)


def rectifier(k, x, y):
    """ArcCosine, NNGP and NTK; in 60 digits where an angle is so small that acos loses half of them."""
    sums = [np.sum(a * b) for a, b in ((x, x), (x, y), (y, y))]
    value, nearest = network(k, *sums, len(x), np, np.longdouble, np.arccos, 4 * np.arctan(np.longdouble(1)))
    if nearest > 1e-4:
        return value
    return network_in_digits(k, tuple(map(float, x)), tuple(map(float, y)))


@functools.cache
def network_in_digits(k, x, y):
    with mpmath.workdps(60):
        sums = [mpmath.fdot(x, x), mpmath.fdot(x, y), mpmath.fdot(y, y)]
        value, _ = network(k, *sums, len(x), mpmath, mpmath.mpf, mpmath.acos, +mpmath.pi)
        high = float(value)
        return np.longdouble(high) + np.longdouble(float(value - high))


def network(k, xx, xy, yy, width, functions, number, acos, pi):
    """The definitions, from the inner products; also the least 1 - |rho| of all layers."""
    bias, gain, layers, nearest = number(0), number(1), 1, number(2)
    if type(k).__name__ != "ArcCosine":
        bias, gain, layers = number(k.bias_variance), number(k.weight_variance) / 2, k.depth
        fan_in = number(width if k.fan_in is None else k.fan_in)
        xx, xy, yy = bias + gain * xx / fan_in, bias + gain * xy / fan_in, bias + gain * yy / fan_in
    tangent = xy
    for _ in range(layers):
        q = functions.sqrt(xx * yy)
        rho = max(number(-1), min(number(1), xy / q)) if q else number(0)
        nearest = min(nearest, 1 - abs(rho))
        theta, sine = acos(rho), functions.sqrt(1 - rho * rho)
        kappa0 = (pi - theta) / pi
        kappa1 = (sine + (pi - theta) * rho) / pi
        if type(k).__name__ == "ArcCosine":
            second = (3 * sine * rho + (pi - theta) * (1 + 2 * rho * rho)) / pi
            return (kappa0, q * kappa1, q * q * second)[k.order], nearest
        xx, xy, yy = bias + gain * xx, bias + gain * q * kappa1, bias + gain * yy
        tangent = xy + tangent * gain * kappa0
    return tangent if type(k).__name__ == "NTK" else xy, nearest


def convolutional(k, x, y):
    """(1/d) sum over positions i, entries a and b of the filter, of f(a) f(b) base(patch i + a of x, i + b of y)."""
    d = len(x)
    f = {None: [1], "global": [np.longdouble(1) / d] * d}.get(k.pooling, k.pooling)
    known = {}

    def base(i, j):
        if (i, j) not in known:
            patches = (
                np.array([[point[(start + t) % d] for t in range(k.patch)]]) for point, start in ((x, i), (y, j))
            )
            known[i, j] = gram(k.base, *patches)[0, 0]
        return known[i, j]

    total = np.longdouble(0)
    for i in range(d):
        for a, first in enumerate(f):
            for b, second in enumerate(f):
                total += first * second * base((i + a) % d, (i + b) % d)
    return total / d


def nugget(k, x, y):
    return np.longdouble(k.variance if all(a == b for a, b in zip(x, y, strict=True)) else 0)


KERNELS = {
    "ArcCosine": rectifier,
    "Convolutional": convolutional,
    "Exponential": exponential,
    "Gaussian": gaussian,
    "L1Exponential": l1_exponential,
    "Linear": linear,
    "Matern": matern,
    "NNGP": rectifier,
    "NTK": rectifier,
    "Nugget": nugget,
    "PeriodicGaussian": periodic_gaussian,
    "Polynomial": polynomial,
    "VonMises": von_mises,
}


def gram(k, x, y=None):
    """Gram matrix in long double, entry by entry; sums, products and scalings by the same operations on matrices."""
    y = x if y is None else y
    name = type(k).__name__
    if name in ("Sum", "Product"):
        first, second = gram(k.first, x, y), gram(k.second, x, y)
        return first + second if name == "Sum" else first * second
    if name == "Scaled":
        return np.longdouble(k.factor) * gram(k.base, x, y)
    x, y = np.asarray(x, np.longdouble), np.asarray(y, np.longdouble)
    return np.array([[KERNELS[name](k, a, b) for b in y] for a in x])


def kernel_product(k, x, y, c):
    """sum_j k(x_i, y_j) c_ja in long double, term by term; y = None for x."""
    y = x if y is None else y
    values = gram(k, x, y)
    c = np.asarray(c, np.longdouble)
    return np.array([[sum(v * w for v, w in zip(row, column, strict=True)) for column in c.T] for row in values])


# ---------------------------------------------------------------- augmentations


def philox(counter, key):
    """Philox4x32-10 (Salmon et al., SC 2011) on Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def view_words(draw, block=0):
    """The four words of a draw block; ``draw`` is (seed, sample, view, stage)."""
    seed, sample, view, stage = draw
    return philox((block, view, sample % 2**32, (sample >> 32) + (stage << 24)), (seed % 2**32, seed >> 32))


def coordinate_words(draw, d):
    """Lane and block of each coordinate: (all four words of its block, its lane)."""
    blocks = math.ceil(d / 4)
    return [(view_words(draw, j % blocks), j // blocks) for j in range(d)]


def box_muller(u, v):
    r = math.sqrt(-2 * math.log((u + 0.5) / 2**32))
    angle = (v % 2**30 - 2**29 + 0.5) / 2**32 * 2 * math.pi
    pair = r * math.cos(angle), r * math.sin(angle)
    if v >> 30 & 1:
        pair = pair[1], pair[0]
    return (-pair[0], -pair[1]) if v >> 31 else pair


def gaussian_noise(a, x, draw):
    z = []
    for words, lane in coordinate_words(draw, len(x)):
        pair = box_muller(words[0], words[1]) if lane < 2 else box_muller(words[2], words[3])
        z.append(pair[lane % 2])
    return [xj + a.scale * zj for xj, zj in zip(x, z, strict=True)]


def bit_flip(a, x, draw):
    words = coordinate_words(draw, len(x))
    return [-xj if w[lane] < round(a.p * 2**32) else xj for xj, (w, lane) in zip(x, words, strict=True)]


def resample(a, x, draw):
    y = []
    for xj, (w, lane) in zip(x, coordinate_words(draw, len(x)), strict=True):
        called = w[lane] // 2 < round(a.p * 2**31)
        y.append((-1.0 if w[lane] % 2 else 1.0) if called else xj)
    return y


def crop(a, x, draw):
    d = len(x)
    starts = d if a.cyclic else d - a.width + 1
    start = (view_words(draw)[0] // 2) * starts // 2**31
    kept = {(start + i) % d for i in range(a.width)}
    words = coordinate_words(draw, d)
    return [
        xj if j in kept else 1.0 - 2 * (w[lane] % 2) for j, (xj, (w, lane)) in enumerate(zip(x, words, strict=True))
    ]


def pick(word, law):
    total = 0.0
    for i, p in enumerate(law):
        total += p
        if word < round(total * 2**32) or not any(law[i + 1 :]):
            return i
    raise AssertionError


def shift(a, x, draw):
    by = pick(view_words(draw)[0], a.law)
    return [x[(j - by) % len(x)] for j in range(len(x))]


def reversal(a, x, draw):
    return x[::-1] if view_words(draw)[0] < round(a.p * 2**32) else x


def sign_flip(a, x, draw):
    return [-xj for xj in x] if view_words(draw)[0] < round(a.p * 2**32) else x


def tangent_step(a, x, draw, cosine=None):
    """By the reflection's matrix, and a check that the step is one."""
    x, d = np.asarray(x, dtype=float), len(x)
    cosine = math.cos(a.angle) if cosine is None else cosine
    norm = np.linalg.norm(x)
    if norm == 0:
        return x
    g = np.array(gaussian_noise(GaussianNoise(1), [0.0] * d, draw))
    g[0] = 0.0
    h = x / norm
    h[0] += 1.0 if x[0] >= 0 else -1.0
    v = (np.eye(d) - 2 * np.outer(h, h) / (h @ h)) @ g / np.linalg.norm(g)
    assert abs(v @ x) < 1e-13 * norm
    return cosine * x + math.sqrt(1 - cosine**2) * norm * v


def random_rotation(a, x, draw):
    d = len(x)
    u = (view_words(draw, math.ceil(d / 4))[0] + 0.5) / 2**32
    share = 1.0 if d == 2 else 1.0 - u ** (2 / (d - 2))
    return tangent_step(a, x, draw, 1 - (1 - math.cos(a.angle)) * share)


def affine(a, x, draw):
    height, width, channels = (*a.image_shape, 1)[:3]
    image = np.asarray(x, dtype=float).reshape(height, width, channels)
    u = [(w + 0.5) / 2**32 for w in view_words(draw)]
    theta = math.radians(a.rotation) * (2 * u[0] - 1)
    zeta = a.zoom ** (1 - 2 * u[1])
    down, right = (a.shift * (2 * ui - 1) for ui in u[2:])
    centre = (height - 1) / 2, (width - 1) / 2

    def pixel(r, q):
        return image[r, q] if 0 <= r < height and 0 <= q < width else np.zeros(channels)

    view = np.empty_like(image)
    for r in range(height):
        for q in range(width):
            dy, dx = r - centre[0] - down, q - centre[1] - right
            y = centre[0] + (math.cos(theta) * dy + math.sin(theta) * dx) / zeta
            z = centre[1] + (math.cos(theta) * dx - math.sin(theta) * dy) / zeta
            i, j = math.floor(y), math.floor(z)
            s, t = y - i, z - j
            view[r, q] = (
                (1 - s) * (1 - t) * pixel(i, j)
                + (1 - s) * t * pixel(i, j + 1)
                + s * (1 - t) * pixel(i + 1, j)
                + s * t * pixel(i + 1, j + 1)
            )
    return view.ravel()


def horizontal_flip(a, x, draw):
    image = np.asarray(x).reshape(*a.image_shape[:2], -1)
    flipped = view_words(draw)[0] < round(a.p * 2**32)
    return (image[:, ::-1] if flipped else image).ravel()


def cutout(a, x, draw):
    image = np.array(x).reshape(*a.image_shape[:2], -1)
    words = view_words(draw)
    top, left = (w * (side - a.size + 1) // 2**32 for w, side in zip(words, a.image_shape[:2], strict=False))
    for r in range(top, top + a.size):
        for q in range(left, left + a.size):
            image[r, q] = 0
    return image.ravel()


def few_normals(draw, count, first=0):
    z = []
    for block in range(first, first + math.ceil(count / 4)):
        words = view_words(draw, block)
        z += [*box_muller(*words[:2]), *box_muller(*words[2:])]
    return z[:count]


def on_channels(a, x, change):
    """``change(channel, number)`` of every channel of a series."""
    return np.ravel([change(channel, c) for c, channel in enumerate(np.reshape(x, (a.channels, -1)))])


def jitter(a, x, draw):
    noise = np.array(gaussian_noise(GaussianNoise(a.scale), [0.0] * len(x), draw)).reshape(a.channels, -1)
    return on_channels(a, x, lambda channel, c: channel + np.std(channel) * noise[c])


def scaling(a, x, draw):
    z = few_normals(draw, a.channels)
    return on_channels(a, x, lambda channel, c: (1 + a.scale * z[c]) * channel)


def catmull_rom(z, f):
    """The cubic through z_1 and z_2, whose slopes there are those of the chords of their neighbours."""
    m1, m2 = (z[2] - z[0]) / 2, (z[3] - z[1]) / 2
    hermite = np.array([2 * f**3 - 3 * f**2 + 1, f**3 - 2 * f**2 + f, -2 * f**3 + 3 * f**2, f**3 - f**2])
    return hermite @ [z[1], m1, z[2], m2]


def magnitude_warp(a, x, draw):
    count = a.knots + 4

    def warped(channel, c):
        z, last = few_normals(draw, count, c * math.ceil(count / 4)), max(len(channel) - 1, 1)
        y = []
        for t, value in enumerate(channel):
            k = min(t * (a.knots + 1) // last, a.knots)
            y.append(value * (1 + a.scale * catmull_rom(z[k : k + 4], t * (a.knots + 1) / last - k)))
        return y

    return on_channels(a, x, warped)


def time_warp(a, x, draw):
    speeds = np.exp(a.scale * np.array(few_normals(draw, a.knots + 1)))
    last = len(x) // a.channels - 1
    places = np.linspace(0, last, a.knots + 2)
    tau = np.interp(np.arange(last + 1), places, last * np.concatenate([[0], np.cumsum(speeds)]) / speeds.sum())
    return on_channels(a, x, lambda channel, c: np.interp(tau, np.arange(last + 1), channel))


def window(a, x, draw):
    last = len(x) // a.channels - 1
    start = (view_words(draw)[0] + 0.5) / 2**32 * (1 - a.share) * last
    tau = start + a.share * np.arange(last + 1)
    return on_channels(a, x, lambda channel, c: np.interp(tau, np.arange(last + 1), channel))


def changes(draw):
    """Four numbers uniform on (-1, 1)."""
    return [2 * (w + 0.5) / 2**32 - 1 for w in view_words(draw)]


def brightness(a, x, draw):
    return np.array(x) * (1 + a.strength * changes(draw)[0])


def contrast(a, x, draw):
    image = np.reshape(x, (*a.image_shape[:2], -1))
    mean = image.mean(axis=(0, 1))
    return np.ravel(mean + (1 + a.strength * changes(draw)[1]) * (image - mean))


def color_jitter(a, x, draw):
    """By matrices: colours are (grey, 0.492 (blue - grey), 0.877 (red - grey)), and a turn of the last two."""
    u = changes(draw)
    image = np.reshape(x, a.image_shape) * (1 + a.brightness * u[0])
    mean = image.mean(axis=(0, 1))
    image = mean + (1 + a.contrast * u[1]) * (image - mean)
    grey = np.array([0.299, 0.587, 0.114])
    to_yuv = np.array([grey, 0.492 * ([0, 0, 1] - grey), 0.877 * ([1, 0, 0] - grey)])
    cos, sin = (f(2 * math.pi * a.hue * u[3]) for f in (math.cos, math.sin))
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ np.diag([1, *[1 + a.saturation * u[2]] * 2])
    return np.ravel(image @ (np.linalg.inv(to_yuv) @ turn @ to_yuv).T)


def blur(a, x, draw):
    """By the matrix of the weights of rows, and that of columns."""
    height, width = a.image_shape[:2]
    sigma, reach = a.scale * (view_words(draw)[0] + 0.5) / 2**32, math.ceil(3 * a.scale)

    def weights(n):
        matrix = np.zeros((n, n))
        for i in range(n):
            for k in range(-reach, reach + 1):
                matrix[i, min(max(i + k, 0), n - 1)] += math.exp(-((k / sigma) ** 2) / 2) if k else 1.0
        return matrix / matrix.sum(axis=1, keepdims=True)

    return np.einsum("ri,qj,ijc->rqc", weights(height), weights(width), np.reshape(x, (height, width, -1))).ravel()


def resized_crop(a, x, draw):
    height, width = a.image_shape[:2]
    image, u = np.reshape(x, (height, width, -1)), [(w + 0.5) / 2**32 for w in view_words(draw)]
    area, taller = a.smallest + (1 - a.smallest) * u[0], a.ratio ** (2 * u[1] - 1)
    tall, wide = min(1, math.sqrt(area * taller)) * height, min(1, math.sqrt(area / taller)) * width
    rows = u[2] * (height - tall) + tall * (np.arange(height) + 0.5) / height - 0.5
    columns = u[3] * (width - wide) + wide * (np.arange(width) + 0.5) / width - 0.5
    along = np.array(
        [[np.interp(columns, np.arange(width), line) for line in plane] for plane in image.transpose(2, 0, 1)]
    )
    found = np.array([[np.interp(rows, np.arange(height), line) for line in plane.T] for plane in along])
    return found.transpose(2, 1, 0).ravel()


def corrupt(a, x, draw):
    blocks, y = math.ceil(len(x) / 4), []
    for j, (words, lane) in enumerate(coordinate_words(draw, len(x))):
        row = view_words(draw, blocks + j % blocks)[lane] * len(a.table) // 2**32
        y.append(a.table[row, j] if words[lane] < round(a.p * 2**32) else x[j])
    return y


def custom(a, x, draw):
    seed, sample, view, stage = draw
    key, counter = np.array([seed, int.from_bytes(b"Custom", "big")], np.uint64), np.array([0, view, sample, stage])
    rng = np.random.Generator(np.random.Philox(key=key, counter=counter.astype(np.uint64)))
    return np.ravel(a.function(np.reshape(x, a.sample_shape or len(x)), rng))


def places(a):
    own = 1 if type(a).__name__ == "Mixture" else 0
    return own + sum(map(places, a.parts)) if hasattr(a, "parts") else 1


def compose(a, x, draw):
    """The parts one after the other; the places of the parts number their draws."""
    *rest, stage = draw
    for part in a.parts:
        x = AUGMENTATIONS[type(part).__name__](part, x, (*rest, stage))
        stage += places(part)
    return x


def mixture(a, x, draw):
    *rest, stage = draw
    chosen = pick(view_words(draw)[0], a.weights)
    stage += 1 + sum(places(part) for part in a.parts[:chosen])
    return AUGMENTATIONS[type(a.parts[chosen]).__name__](a.parts[chosen], x, (*rest, stage))


AUGMENTATIONS = {
    "Affine": affine,
    "BitFlip": bit_flip,
    "Blur": blur,
    "Brightness": brightness,
    "ColorJitter": color_jitter,
    "Compose": compose,
    "Contrast": contrast,
    "Corrupt": corrupt,
    "Crop": crop,
    "Custom": custom,
    "Cutout": cutout,
    "GaussianNoise": gaussian_noise,
    "HorizontalFlip": horizontal_flip,
    "Jitter": jitter,
    "MagnitudeWarp": magnitude_warp,
    "Mixture": mixture,
    "RandomRotation": random_rotation,
    "Resample": resample,
    "ResizedCrop": resized_crop,
    "Reversal": reversal,
    "Scaling": scaling,
    "Shift": shift,
    "SignFlip": sign_flip,
    "TangentStep": tangent_step,
    "TimeWarp": time_warp,
    "Window": window,
}


def views(a, x, n_views, seed, first=0):
    oracle = AUGMENTATIONS[type(a).__name__]
    return np.array([[oracle(a, row, (seed, first + i, v, 0)) for v in range(n_views)] for i, row in enumerate(x)])


def crop_eigenvalue(subset, width, d, cyclic):
    """The share of the windows that contain the subset, by the formulas of the gaps and of the ends."""
    if not subset:
        return 1.0
    if not cyclic:
        least, most = min(subset), max(subset)
        return max(0, min(least, d - width) - max(most - width + 1, 0) + 1) / (d - width + 1)
    gaps = [(b - a - 1) % d + 1 for a, b in zip(subset, [*subset[1:], subset[0]], strict=True)]
    return sum(max(g - (d - width), 0) for g in gaps) / d


def parity_operator(a, d):
    """The matrix of A on the parities: ``A chi_S = sum_R matrix[R, S] chi_R``, subsets as binary numbers."""
    subsets = [[j for j in range(d) if s >> j & 1] for s in range(2**d)]
    h = np.array([len(s) for s in subsets])
    name = type(a).__name__
    if name == "Compose":
        return np.linalg.multi_dot([np.eye(2**d), *(parity_operator(part, d) for part in a.parts), np.eye(2**d)])
    if name == "Mixture":
        return sum(w * parity_operator(part, d) for w, part in zip(a.weights, a.parts, strict=True))
    if name in ("Shift", "Reversal"):
        # of chi_S: to the subset of the coordinates that the view's coordinates in S come from
        if name == "Shift":
            moves = [(p, [(j - by) % d for j in range(d)]) for by, p in enumerate(a.law)]
        else:
            moves = [(1 - a.p, list(range(d))), (a.p, list(range(d))[::-1])]
        matrix = np.zeros((2**d, 2**d))
        for p, source in moves:
            for s, subset in enumerate(subsets):
                matrix[sum(1 << source[j] for j in subset), s] += p
        return matrix
    return np.diag(
        {
            "BitFlip": lambda: (1 - 2 * a.p) ** h,
            "Resample": lambda: (1 - a.p) ** h,
            "SignFlip": lambda: np.where(h % 2, 1 - 2 * a.p, 1.0),
            "Crop": lambda: [crop_eigenvalue(s, a.width, d, a.cyclic) for s in subsets],
        }[name]()
    )


def gegenbauer(degree, u, d):
    """P_l of the sphere in d dimensions, P_l(1) = 1."""
    before, now = 0.0, np.ones_like(u)
    for k in range(degree):
        before, now = now, (u * now if k == 0 else ((2 * k + d - 2) * u * now - k * before) / (k + d - 2))
    return now


def sphere_eigenvalue(a, degree, d):
    """A on the spherical harmonics of this degree."""
    name = type(a).__name__
    if name == "Compose":
        return math.prod(sphere_eigenvalue(part, degree, d) for part in a.parts)
    if name == "Mixture":
        return sum(w * sphere_eigenvalue(part, degree, d) for w, part in zip(a.weights, a.parts, strict=True))
    if name == "TangentStep":
        return float(gegenbauer(degree, np.cos(a.angle), d))
    if name == "SignFlip":
        return 1 - 2 * a.p * (degree % 2)
    # RandomRotation: the coefficients of (1 - z^2) (1 - z)^-(d-2) (1 - 2 z cos + z^2)^-1, each factor as a series
    z = np.arange(degree + 1)
    series = np.array([math.comb(int(k) + d - 3, d - 3) if d > 2 else float(k == 0) for k in z])
    turning = [float(np.sin((k + 1) * a.angle) / np.sin(a.angle)) for k in z]
    product = np.convolve(np.convolve(series, turning)[: degree + 1], [1, 0, -1])[degree]
    return product / (math.comb(degree + d - 1, d - 1) - (math.comb(degree + d - 3, d - 1) if degree > 1 else 0))


# ---------------------------------------------------------------- exact and feature solvers
# Samples are given by ``groups``, the index of the sample of each view, views by positive ``weight``.


def helmert(m):
    """The orthonormal matrix whose first row is constant and whose row c compares view c with those before it."""
    h = np.full((m, m), 1 / math.sqrt(m))
    for c in range(1, m):
        for a in range(m):
            h[c, a] = (1.0 if a < c else -float(c) if a == c else 0.0) / math.sqrt(c * (c + 1))
    return h


def averaging(groups, weight):
    """T, (N, N): the weighted mean over the sample of a view, on vectors sqrt(p) f (symmetric, a projector)."""
    total = np.zeros((len(groups), len(groups)))
    for a, i in enumerate(groups):
        for b, j in enumerate(groups):
            if i == j:
                mine = sum(w for w, g in zip(weight, groups, strict=True) if g == i)
                total[a, b] = math.sqrt(weight[a] * weight[b]) / mine
    return total


def invariance(groups, weight, unbiased):
    """I - T; unbiased: T averages over distinct views, which divides the block of a sample by 1 - sum q^2."""
    difference = np.eye(len(groups)) - averaging(groups, weight)
    if unbiased:
        for a, i in enumerate(groups):
            mine = [w for w, g in zip(weight, groups, strict=True) if g == i]
            if len(mine) > 1:
                difference[a] /= 1 - sum((w / sum(mine)) ** 2 for w in mine)
            else:
                difference[a] = 0.0
    return difference


def pair_moment(x, groups, weight):
    """The unbiased Delta from pairs of views of each sample, weighted by the products of their weights."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for i in sorted(set(groups)):
        mine = [a for a, g in enumerate(groups) if g == i]
        pairs = [(a, b) for a in mine for b in mine if a < b]
        heaviest = max((weight[a] * weight[b] for a, b in pairs), default=0.0)
        up = sum(weight[a] * weight[b] / heaviest * np.outer(x[a] - x[b], x[a] - x[b]) / 2 for a, b in pairs)
        down = sum(weight[a] * weight[b] / heaviest for a, b in pairs)
        total += sum(weight[a] for a in mine) * up / down if pairs else 0.0
    return total / sum(weight)


def within_moment(x, groups, weight):
    """Delta without unbiased factors, from pairs of views of each sample."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for i in sorted(set(groups)):
        mine = [a for a, g in enumerate(groups) if g == i]
        share = {a: weight[a] / sum(weight[b] for b in mine) for a in mine}
        for a, b in ((a, b) for a in mine for b in mine if a < b):
            total += weight[a] * share[b] * np.outer(x[a] - x[b], x[a] - x[b])
    return total / sum(weight)


def conditioned_kernel(matrix, groups, weight, *, reg, beta, unbiased, center):
    """(beta (I - T) + reg Khat^-1)^-1 = R (beta R (I - T) R + reg I)^-1 R with R the square root of Khat."""
    weight = weight / np.sum(weight)
    root = np.sqrt(weight)
    values, vectors = np.linalg.eigh(root[:, None] * matrix * root)
    r = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    g = r @ np.linalg.solve(beta * r @ invariance(groups, weight, unbiased) @ r + reg * np.eye(len(r)), r)
    if center:
        h = np.eye(len(r)) - np.outer(root, root)
        g = h @ g @ h
    return (g + g.T) / 2


def pretrain(matrix, groups, weight, **numbers):
    """All 1/gamma, decreasing, and unit eigenvectors sqrt(p) f, of the Gram matrix of the views."""
    values, vectors = np.linalg.eigh(conditioned_kernel(matrix, groups, weight, **numbers))
    return values[::-1], vectors[:, ::-1]


def joint_law(i, j, w, n):
    """P, (n, n), of pairs with weights: symmetrised, with sum 1."""
    joint = np.zeros((n, n))
    for a, b, weight in zip(i, j, w, strict=True):
        joint[a, b] += weight / 2
        joint[b, a] += weight / 2
    return joint / joint.sum()


def pairs_apart(times, lengths, lag):
    """Rows (i, j) of one trajectory, of lengths one after the other, whose times are a lag apart."""
    trajectory = [number for number, length in enumerate(lengths) for _ in range(length)]
    n = len(times)
    return [(i, j) for i in range(n) for j in range(n) if trajectory[i] == trajectory[j] and times[j] - times[i] == lag]


def pairs_operator(joint):
    """p^(1/2) T p^(-1/2) and p of a law of pairs, on the points that are in one."""
    p = joint.sum(axis=1)
    there = p > 0
    return joint[there][:, there] / np.sqrt(np.outer(p[there], p[there])), p


def pretrain_paired(matrix, operator, p, *, reg, beta, center):
    """mu, decreasing, and unit vectors p^(1/2) f: (1 - beta) I + beta T - reg Khat^-1 on the range of Khat.

    Centred, on the functions of mean 0 in that range: of H Khat H, with H T H.
    """
    root = np.sqrt(p)
    khat = (root[:, None] * matrix * root).astype(float)
    if center:
        h = np.eye(len(p)) - np.outer(root, root)
        khat = h @ khat @ h
    values, vectors = np.linalg.eigh(khat)
    kept = values > 1e-13 * values[-1]
    w = vectors[:, kept]
    form = (1 - beta) * np.eye(kept.sum()) + beta * w.T @ operator @ w - reg * np.diag(1 / values[kept])
    mu, turn = np.linalg.eigh((form + form.T) / 2)
    return mu[::-1], (w @ turn)[:, ::-1]


def two_modalities(kx, ky, p, *, reg, beta, unbiased, center):
    """mu, decreasing, and vectors of `pretrain_paired` on the points x, then y, of pairs with weights p.

    T exchanges the members of a pair (biased: also averages with a point itself); centred, about the mean of each.
    """
    n = len(p)
    p = np.asarray(p) / np.sum(p)
    root = np.sqrt(np.concatenate([p, p]) / 2)
    zero, one = np.zeros((n, n)), np.eye(n)
    khat = root[:, None] * np.block([[kx, zero], [zero, ky]]) * root
    if center:
        h = one - np.outer(np.sqrt(p), np.sqrt(p))
        h = np.block([[h, zero], [zero, h]])
        khat = h @ khat @ h
    operator = np.block([[zero, one], [one, zero]])
    if not unbiased:
        operator = (operator + np.eye(2 * n)) / 2
    return pretrain_paired(khat / np.outer(root, root), operator, root**2, reg=reg, beta=beta, center=False)


def kernel_cca(kx, ky, epsilon):
    """Canonical correlations, decreasing: the roots of the eigenvalues of (K_x + e I)^-1 K_x (K_y + e I)^-1 K_y.

    K_x and K_y centred: sup f^T g over f^T f + e ||f||^2 = g^T g + e ||g||^2 = 1.
    """
    n = len(kx)
    h = np.eye(n) - np.full((n, n), 1 / n)
    kx, ky = h @ kx @ h, h @ ky @ h
    shift = epsilon * np.eye(n)
    product = np.linalg.solve(kx + shift, kx) @ np.linalg.solve(ky + shift, ky)
    return np.sqrt(np.maximum(np.sort(np.linalg.eigvals(product).real)[::-1], 0))


def linear_cca(x, y):
    """Canonical correlations: the cosines of the angles between the spans of centred columns (Bjorck and Golub)."""
    q, r = (np.linalg.qr(a - a.mean(axis=0))[0] for a in (x, y))
    return np.linalg.svd(q.T @ r, compute_uv=False)


def tica(x, lag):
    """Autocorrelations, decreasing, and weights of TICA, reversible: both ends of all pairs have one mean."""
    a, b = x[:-lag], x[lag:]
    mean = (a.mean(axis=0) + b.mean(axis=0)) / 2
    a, b = a - mean, b - mean
    c0 = (a.T @ a + b.T @ b) / (2 * len(a))
    ct = (a.T @ b + b.T @ a) / (2 * len(a))
    values, vectors = scipy.linalg.eigh(ct, c0)
    return values[::-1], vectors[:, ::-1]


def slow_features(x):
    """Delta values, increasing: mean squared differences of neighbours, over the variance over all times."""
    d, c = np.diff(x, axis=0), x - x.mean(axis=0)
    return scipy.linalg.eigh(d.T @ d / len(d), c.T @ c / len(c), eigvals_only=True)


def pair_moments(phi, joint):
    """Sigma, Delta and the mean of features (N, r) under the joint weights of pairs: loops over all pairs."""
    r = phi.shape[1]
    sigma, delta, mean = np.zeros((r, r)), np.zeros((r, r)), np.zeros(r)
    for i, row in enumerate(joint):
        for j, weight in enumerate(row):
            sigma += weight * np.outer(phi[i], phi[i])
            mean += weight * phi[i]
            delta += weight / 2 * np.outer(phi[i] - phi[j], phi[i] - phi[j])
    return sigma, delta, mean


def held_out_risk_of_pairs(z, joint, groups, beta):
    """beta E|z - z'|^2 + <E zz^T, E zz^T> of different groups - 2 E|z|^2 + k: loops over pairs, and pairs of points."""
    n, k = z.shape
    p = joint.sum(axis=1)
    spread = sum(joint[i, j] * ((z[i] - z[j]) ** 2).sum() for i in range(n) for j in range(n))
    couples = [(i, j) for i in range(n) for j in range(n) if groups[i] != groups[j]]
    products = sum(p[i] * p[j] * (z[i] @ z[j]) ** 2 for i, j in couples) / sum(p[i] * p[j] for i, j in couples)
    return beta * spread + products - 2 * sum(p[i] * z[i] @ z[i] for i in range(n)) + k


def pretrain_exactly(pair, points, groups, new, k, *, reg, beta, unbiased, center):
    """gamma, invariance, norms, and values at ``new`` of the first k + 1 minimisers for a kernel of numbers of mpmath.

    In 70 digits, from v = gamma H G H v with G = (beta (I - T) + reg Khat^-1)^-1 = Khat X and
    X = (reg I + beta (I - T) Khat)^-1: the coefficients are gamma X v.  (k + 1 eigenvalues must not be zero.)
    """
    with mpmath.workdps(70):
        n = len(points)
        points, new = ([[mpmath.mpf(float(t)) for t in x] for x in rows] for rows in (points, new))
        khat = mpmath.matrix([[pair(x, y) / n for y in points] for x in points])
        reg, beta = mpmath.mpf(reg), mpmath.mpf(beta)
        difference = mpmath.eye(n)
        for a, i in enumerate(groups):
            others = [b for b, j in enumerate(groups) if i == j and not (unbiased and a == b)]
            for b in others:
                difference[a, b] -= mpmath.mpf(1) / len(others)
        x = (reg * mpmath.eye(n) + beta * difference * khat) ** -1
        project = mpmath.eye(n) - mpmath.ones(n) * (mpmath.mpf(1) / n if center else 0)
        operator = project * khat * x * project
        values, vectors = mpmath.eigsy((operator + operator.T) / 2)
        found = []
        for i in sorted(range(n), key=lambda i: -values[i])[: k + 1]:
            gamma, v = 1 / values[i], vectors[:, i]
            a = gamma * x * v
            fitted = khat * a
            shift = -mpmath.fsum(fitted) / n if center else 0
            weights = a / mpmath.sqrt(n)
            at = [mpmath.fsum(w * pair(z, y) for w, y in zip(weights, points, strict=True)) for z in new]
            inv, norm = (v.T * difference * v)[0], (a.T * fitted)[0]
            found.append((float(gamma), float(inv), float(norm), [float(t + shift * mpmath.sqrt(n)) for t in at]))
    return [np.array(column) for column in zip(*found, strict=True)]


def pretrain_features(phi, groups, weight, *, reg, beta, unbiased, center):
    """All 1/gamma, decreasing, and c with c^T Sigma c = 1: moments by loops, then the generalised eigenproblem."""
    weight = weight / np.sum(weight)
    n, r = phi.shape
    mean = sum(w * row for w, row in zip(weight, phi, strict=True)) if center else np.zeros(r)
    sigma, delta = np.zeros((r, r)), np.zeros((r, r))
    for a in range(n):
        mine = np.array([b for b in range(n) if groups[b] == groups[a]])
        q = weight[mine] / weight[mine].sum()
        sigma += weight[a] * np.outer(phi[a] - mean, phi[a] - mean)
        step = phi[a] - q @ phi[mine]
        factor = 1 / (1 - q @ q) if unbiased and len(mine) > 1 else 1.0
        delta += weight[a] * factor * np.outer(step, step)
    lower = np.linalg.cholesky(beta * delta + reg * np.eye(r))
    half = np.linalg.solve(lower, sigma)
    values, vectors = np.linalg.eigh(np.linalg.solve(lower, half.T))
    values, c = values[::-1], np.linalg.solve(lower.T, vectors[:, ::-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return values, c / np.sqrt(values)


def published_method(matrix, m, k, lambda_ref):
    """The authors' formulation, T_ref - lambda_ref K^-1 with T_ref = kron(I, ones(m, m)); K regular."""
    n = len(matrix) // m
    values, vectors = np.linalg.eigh(np.kron(np.eye(n), np.ones((m, m))) - lambda_ref * np.linalg.pinv(matrix))
    return values[::-1][:k], vectors[:, ::-1][:, :k]


def controlled_study(pretraining, downstream, repetitions, n_test, probabilities, rng):
    """Errors (2, repetitions, P, D) of the authors' half-moons: a fit and a probe at each size; means over draws.

    Squared errors to the true probabilities, and their best one less that of the class predicted.
    """

    def moons(n):
        angle = rng.uniform(0, 2 * np.pi, n)
        x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return x + np.outer(x[:, 0] > 0, [0.0, 1.0]) + 0.1 * rng.normal(size=(n, 2))

    def kernel(a, b):
        return np.exp(-np.linalg.norm(a[:, None] - b, axis=-1) / 0.2)

    errors = np.zeros((2, repetitions[0], len(pretraining), len(downstream)))
    for r in range(repetitions[0]):
        for p, n in enumerate(pretraining):
            points = (moons(n)[:, None] + 0.1 * rng.normal(size=(n, 2, 2))).reshape(-1, 2)
            matrix = kernel(points, points)
            weights = np.linalg.pinv(matrix) @ published_method(matrix, 2, 5, 1e-3)[1] * len(points) ** 0.5
            test = moons(n_test)
            chances, at_test = probabilities(test), kernel(test, points) @ weights
            for _ in range(repetitions[1]):
                x = moons(max(downstream))
                labels = np.array([rng.choice(4, p=q) for q in probabilities(x)])
                z = kernel(x, points) @ weights
                for d, s in enumerate(downstream):
                    predicted = at_test @ np.linalg.lstsq(z[:s], np.eye(4)[labels[:s]], rcond=None)[0]
                    excess = chances.max(axis=1) - chances[np.arange(n_test), predicted.argmax(axis=1)]
                    squared = ((predicted - chances) ** 2).sum(axis=1)
                    errors[:, r, p, d] += np.array([squared.mean(), excess.mean()]) / repetitions[1]
    return errors


# ---------------------------------------------------------------- risks


def vicreg(z, beta=1.0, unbiased=False):
    """Average over all pairs (views a, b of one sample; views of two samples); unbiased: over different ones.

    ||E[psi psi^T] - I||^2 = E[(psi . psi'')^2] - 2 E||psi||^2 + k with psi'' independent of psi.
    """
    n, m, k = z.shape
    z = z.astype(np.float64)
    attraction, pairs = 0.0, 0
    for i in range(n):
        for a in range(m):
            for b in range(m):
                if a != b or not unbiased:
                    attraction += sum((z[i, a, c] - z[i, b, c]) ** 2 for c in range(k))
                    pairs += 1
    repulsion, couples = 0.0, 0
    for i in range(n):
        for j in range(n):
            if i == j and unbiased:
                continue
            for a in range(m):
                for b in range(m):
                    repulsion += sum(z[i, a, c] * z[j, b, c] for c in range(k)) ** 2
                    couples += 1
    energy = sum(z[i, a, c] ** 2 for i in range(n) for a in range(m) for c in range(k)) / (n * m)
    return beta * attraction / pairs + repulsion / couples - 2.0 * energy + k


def held_out_risk(z, groups, weight, beta, unbiased=True):
    """The unbiased risk of values z (N, k) with the sample and the weight of each view: sums over pairs of views.

    Pairs of different samples for the second moments; pairs of (different, if unbiased) views of each sample for the
    invariance, to which samples of one view add nothing.
    """
    n, k = z.shape
    samples = sorted(set(groups))
    total = {i: sum(weight[a] for a in range(n) if groups[a] == i) for i in samples}
    near = 0.0
    for i in samples:
        mine = [a for a in range(n) if groups[a] == i]
        up = sum(weight[a] * weight[b] * ((z[a] - z[b]) ** 2).sum() for a in mine for b in mine)
        down = sum(weight[a] * weight[b] for a in mine for b in mine if a != b or not unbiased)
        near += total[i] * up / down if len(mine) > 1 else 0.0
    far = couples = 0.0
    for a in range(n):
        for b in range(n):
            if groups[a] != groups[b]:
                far += weight[a] * weight[b] * (z[a] @ z[b]) ** 2
                couples += weight[a] * weight[b]
    square = sum(w * row @ row for w, row in zip(weight, z, strict=True))
    everything = sum(total.values())
    return beta * near / everything + far / couples - 2 * square / everything + k


def spectral_contrastive(z, unbiased=False):
    """-2 E[psi . psi'] + E[(psi . psi'')^2], over the same pairs."""
    n, m, _ = z.shape
    z = z.astype(np.float64)
    positives = [z[i, a] @ z[i, b] for i in range(n) for a in range(m) for b in range(m) if a != b or not unbiased]
    negatives = [
        (z[i, a] @ z[j, b]) ** 2
        for i in range(n)
        for j in range(n)
        for a in range(m)
        for b in range(m)
        if i != j or not unbiased
    ]
    return -2.0 * sum(positives) / len(positives) + sum(negatives) / len(negatives)


def vicreg_hinge(z, similarity=25.0, variance=25.0, covariance=1.0, target_std=1.0, eps=1e-4):
    """Equations 1 to 6 of the paper for two views; a mean over pairs of the two-view loss for more."""
    n, m, k = z.shape
    total, pairs = 0.0, 0
    for a in range(m):
        for b in range(a + 1, m):
            loss = similarity * sum(np.sum((z[i, a] - z[i, b]) ** 2) for i in range(n)) / n
            for view in (z[:, a], z[:, b]):
                mean = view.mean(axis=0)
                for j in range(k):
                    for c in range(k):
                        cov = sum((view[i, j] - mean[j]) * (view[i, c] - mean[c]) for i in range(n)) / (n - 1)
                        if j == c:
                            loss += variance * max(0.0, target_std - math.sqrt(cov + eps)) / k
                        else:
                            loss += covariance * cov**2 / k
            total, pairs = total + loss, pairs + 1
    return total / pairs


def barlow_twins(z, redundancy=5e-3, eps=1e-5):
    """The paper's pseudocode, for each ordered pair of views."""
    n, m, k = z.shape
    total, pairs = 0.0, 0
    for a in range(m):
        for b in range(m):
            if a == b:
                continue
            y = [(v - v.mean(axis=0)) / np.sqrt(v.var(axis=0) + eps) for v in (z[:, a], z[:, b])]
            for j in range(k):
                for c in range(k):
                    r = sum(y[0][i, j] * y[1][i, c] for i in range(n)) / n
                    total += (1.0 - r) ** 2 if j == c else redundancy * r**2
            pairs += 1
    return total / pairs


# ---------------------------------------------------------------- probes


def prefix_errors(z, y, sizes, test, target, reg, fit_intercept):
    """Squared and 0-1 error of a ridge probe (least norm for reg = 0) on the first s points of each draw."""
    z, y, test, target = (np.asarray(a, np.float64) for a in (z, y, test, target))
    squared, zero_one = np.zeros((2, len(z), len(sizes)))
    for r in range(len(z)):
        for j, s in enumerate(sizes):
            x, wanted = z[r, :s], y[r, :s]
            shift, level = (x.mean(axis=0), wanted.mean(axis=0)) if fit_intercept else (0.0, 0.0)
            x, wanted = x - shift, wanted - level
            u, singular, v = np.linalg.svd(x, full_matrices=False)
            used = singular > 1e-12 * singular.max(initial=0.0)
            factors = np.where(used, singular, 0.0) / np.where(used, singular**2 + s * reg, 1.0)
            predicted = (test - shift) @ (v.T @ (factors[:, None] * (u.T @ wanted))) + level
            squared[r, j] = np.mean(np.sum((predicted - target) ** 2, axis=1))
            zero_one[r, j] = np.mean([max(t) - t[np.argmax(p)] for p, t in zip(predicted, target, strict=True)])
    return squared, zero_one


def learning_curves(
    data, target, kernel, k, augmentation, m, sizes, downstream, repetitions, n_test, reg, beta, unbiased, center,
    risk_scale, probe_reg, fit_intercept, shared, seed, labels_are_drawn, fresh=None, probe=None,
):  # fmt: skip
    """Squared, relative and 0-1 errors (R, P, D, draws): a dense eigendecomposition a fit, an SVD a probe.

    ``data`` is (n, seed) -> points, or points with ``target`` (n_total, q); else ``target`` is a function.
    """

    def draw(key, n, pool=None):
        number = int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])
        if callable(data):
            x = data(n, number)
            return x, target(x)
        chosen = np.random.default_rng(number).choice(pool, n, replace=False)
        return data[chosen], target[chosen]

    errors = np.zeros((3, repetitions[0], len(sizes), len(downstream), repetitions[1]))
    for r in range(repetitions[0]):
        pool = None
        if callable(data):
            test, truth = draw((r, 2), n_test)
        else:
            number = int(np.random.SeedSequence(seed, spawn_key=(r, 2)).generate_state(1, np.uint64)[0])
            order = np.random.default_rng(number).permutation(len(data))
            test, truth, pool = data[order[:n_test]], target[order[:n_test]], order[n_test:]
        x, _ = draw((r, 0), sizes[-1], pool)
        view_seed = int(np.random.SeedSequence(seed, spawn_key=(r, 1)).generate_state(1, np.uint64)[0])
        made = augmentation.views(x, m, seed=view_seed)
        for p, n in enumerate(sizes):
            centres, groups, weight = made[:n].reshape(n * m, -1), np.repeat(np.arange(n), m), np.ones(n * m)
            matrix = gram(kernel, centres).astype(float)
            numbers = {"reg": reg(n * m), "beta": beta, "unbiased": unbiased}
            values, vectors = pretrain(matrix, groups, weight, center=center, **numbers)
            v, gamma = vectors[:, :k], 1 / values[:k]
            f = (n * m) ** 0.5 * gamma * (conditioned_kernel(matrix, groups, weight, center=False, **numbers) @ v)
            alpha = np.linalg.solve(matrix, f)
            scale = np.sqrt(np.maximum(1 - gamma, 0)) if risk_scale else 1.0

            level = f.mean(axis=0) if center else 0.0

            def psi(points, centres=centres, alpha=alpha, level=level, scale=scale):
                return (gram(kernel, points, centres).astype(float) @ alpha - level) * scale

            for j in range(repetitions[1]):
                key = (j,) if shared else (j, p)
                if fresh is None:
                    z, y = draw((r, 3, *key), downstream[-1], pool)
                else:  # a part of so many fresh points
                    z, y = draw((r, 6), fresh)
                    number = int(np.random.SeedSequence(seed, spawn_key=(r, 3, *key)).generate_state(1, np.uint64)[0])
                    chosen = np.random.default_rng(number).choice(fresh, downstream[-1], replace=False)
                    z, y = z[chosen], y[chosen]
                if labels_are_drawn:
                    number = int(np.random.SeedSequence(seed, spawn_key=(r, 4, *key)).generate_state(1, np.uint64)[0])
                    levels = np.random.default_rng(number).uniform(size=(len(y), 1))[:, 0]
                    y = np.array(
                        [np.eye(len(row))[np.sum(np.cumsum(row)[:-1] <= u)] for row, u in zip(y, levels, strict=True)]
                    )
                if probe is not None:
                    for d, s in enumerate(downstream):
                        pairs = list(zip(probe(psi(z)[:s], y[:s])(psi(test)), truth, strict=True))
                        errors[0, r, p, d, j] = np.mean([np.sum((a - b) ** 2) for a, b in pairs])
                        errors[2, r, p, d, j] = np.mean([b.max() - b[a.argmax()] for a, b in pairs])
                    continue
                found = prefix_errors(psi(z)[None], y[None], downstream, psi(test), truth, probe_reg, fit_intercept)
                errors[0, r, p, :, j], errors[2, r, p, :, j] = found[0][0], found[1][0]
        errors[1, r] = errors[0, r] / np.mean(np.sum(truth**2, axis=1))
    return errors


# ---------------------------------------------------------------- population


def standardize(x, new):
    """Bring each column of new (n, d) to the mean 0 and deviation 1 of those of x, in fifty digits."""
    out = np.empty(new.shape)
    with mpmath.workdps(50):
        for j in range(x.shape[1]):
            column = [mpmath.mpf(float(v)) for v in x[:, j]]
            mean = mpmath.fsum(column) / len(column)
            deviation = mpmath.sqrt(mpmath.fsum((v - mean) ** 2 for v in column) / len(column))
            constant = len(set(column)) == 1
            out[:, j] = [float((mpmath.mpf(float(v)) - mean) / (1 if constant else deviation)) for v in new[:, j]]
    return out


def walsh_hadamard(values):
    """sum_x (-1)^(number of common bits of x and S) values[x], for each S."""
    n = len(values)
    signs = np.array([[(-1.0) ** (x & s).bit_count() for x in range(n)] for s in range(n)])
    return np.tensordot(signs, values.astype(np.float64), 1)


def population_top(t, kappa, multiplicity, reg, beta, k):
    """Indices of the lines of the first k components, by sorting all components (equal ones by index)."""
    every = []
    for i in range(len(t)):
        penalty = 0.0 if reg == 0 else math.inf if kappa[i] == 0 else reg / kappa[i]
        every += [(-(1 - beta + beta * t[i] - penalty), i)] * int(multiplicity[i])
    every.sort()
    return [i for _, i in every[:k]], [-value for value, _ in every[:k]]


def cube_points(d):
    """All points of {-1, 1}^d, number n at row n: coordinate i is -1 where bit i of n is set."""
    return np.array([[-1.0 if n >> i & 1 else 1.0 for i in range(d)] for n in range(2**d)])


def parities(d, sets):
    """chi_S at all points, one column a set."""
    x = cube_points(d)
    return np.stack([np.prod(x[:, list(s)], axis=1) for s in sets], axis=1)


def cube_law(a, d):
    """P(xi | x), (2^d, 2^d), from the law of the augmentation itself; the matrix of A."""
    name, x = type(a).__name__, cube_points(d)
    kept = x[:, None, :] == x[None, :, :]  # (x, xi, coordinate)
    if name == "BitFlip":
        return np.where(kept, 1 - a.p, a.p).prod(axis=2)
    if name == "Resample":
        return np.where(kept, 1 - a.p + a.p / 2, a.p / 2).prod(axis=2)
    if name == "Crop":
        starts = range(d if a.cyclic else d - a.width + 1)
        windows = [[(s + i) % d for i in range(a.width)] for s in starts]
        return sum(kept[:, :, w].all(axis=2) * 0.5 ** (d - a.width) for w in windows) / len(windows)
    if name == "Shift":
        moves = [(p, [(j - s) % d for j in range(d)]) for s, p in enumerate(a.law)]  # xi_j = x_(j - s)
    elif name == "Reversal":
        moves = [(1 - a.p, list(range(d))), (a.p, list(range(d))[::-1])]
    if name in ("Shift", "Reversal"):
        return sum(p * (x[:, None, source] == x[None, :, :]).all(axis=2) for p, source in moves)
    if name == "SignFlip":
        return (1 - a.p) * kept.all(axis=2) + a.p * (~kept).all(axis=2)
    laws = [cube_law(part, d) for part in a.parts]
    if name == "Compose":
        out = laws[0]
        for law in laws[1:]:
            out = out @ law
        return out
    return sum(w * law for w, law in zip(a.weights, laws, strict=True))


def windows_containing(s, d, width, cyclic=True):
    starts = range(d if cyclic else d - width + 1)
    return sum(set(s) <= {(start + i) % d for i in range(width)} for start in starts)


# ---------------------------------------------------------------- probing


def ridge(z, y, penalty, fit_intercept):
    """Weights and intercept minimising sum_i ||w^T z_i + b - y_i||^2 + penalty ||w||^2, by its normal equations."""
    n, k = z.shape
    extended = np.hstack([z, np.ones((n, 1))]) if fit_intercept else z
    identity = np.eye(extended.shape[1])
    if fit_intercept:
        identity[k, k] = 0.0
    solution = np.linalg.solve(extended.T @ extended + penalty * identity, extended.T @ y)
    return solution[:k], solution[k] if fit_intercept else np.zeros(y.shape[1])


def probe_penalties(z, fit_intercept):
    """From 10 down to 10^-3 mean squared distances, and to 10^-8 while ten labels come to each degree of freedom."""
    n, k = z.shape
    points = z - z.mean(axis=0) if fit_intercept else z
    spread = sum(float(point @ point) for point in points) / n
    found = []
    for i in range(19):
        reg = spread * 10 ** (1 - i / 2)
        hat = points @ np.linalg.solve(points.T @ points + n * reg * np.eye(k), points.T)
        if i <= 8 or np.trace(hat) * 10 <= n:
            found.append(reg)
    return np.array(found)


def probe_choice(z, labels, regs, fit_intercept):
    """Penalty of the fewest errors without each sample; with one label a class, of half of the degrees of freedom."""
    n, k = z.shape
    points = z - z.mean(axis=0) if fit_intercept else z
    spread = sum(float(point @ point) for point in points) / n
    one_hot = np.array([[float(label == c) for c in sorted(set(labels))] for label in labels])

    def degrees(reg):
        return np.trace(np.linalg.solve(points.T @ points + n * reg * np.eye(k), points.T @ points))

    def judged(reg):
        if one_hot.shape[1] == n:
            return abs(np.log(degrees(reg) / (degrees(1e-9 * spread) - degrees(reg)))), 0.0
        decisions = leave_one_out(z, one_hot, n * reg, fit_intercept)
        errors = sum(d.argmax() != y.argmax() for d, y in zip(decisions, one_hot, strict=True))
        return errors, ((decisions - one_hot) ** 2).sum()

    return min(regs, key=judged)


def leave_one_out(z, y, penalty, fit_intercept):
    """Prediction at each sample of the ridge fitted on the others, with the same penalty on the sum."""
    n = len(z)
    out = np.empty_like(y)
    for i in range(n):
        keep = np.arange(n) != i
        weights, intercept = ridge(z[keep], y[keep], penalty, fit_intercept)
        out[i] = z[i] @ weights + intercept
    return out


# ---------------------------------------------------------------- datasets


def half_moons_probabilities(x):
    rows = []
    for point in x:
        weights = []
        for i in range(4):
            distances = []
            for a in range(10):
                angle = (i + a / 9) * math.pi / 2
                anchor = math.cos(angle), math.sin(angle) + (i in (0, 3))
                distances.append((point[0] - anchor[0]) ** 2 + (point[1] - anchor[1]) ** 2)
            weights.append(math.exp(-8 * min(distances)))
        rows.append([w / sum(weights) for w in weights])
    return np.array(rows)


def nearest(z, points, k):
    """Distances and indices of the k nearest points of each row, of equal distances the smaller index first."""
    distances, indices = [], []
    for row in z:
        found = sorted(
            (math.sqrt(sum((a - b) ** 2 for a, b in zip(row, p, strict=True))), j) for j, p in enumerate(points)
        )
        distances.append([d for d, _ in found[:k]])
        indices.append([j for _, j in found[:k]])
    return np.array(distances), np.array(indices)


def vote(labels):
    """The most frequent of these labels, of equally frequent ones the first."""
    counts = [sum(a == b for b in labels) for a in labels]
    return labels[counts.index(max(counts))]


# ---------------------------------------------------------------- diagnostics


def rankme(z):
    """The exponential of the entropy of the singular values of the centred (n, k)."""
    singular = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    shares = [s / singular.sum() for s in singular if s > 1e-12 * singular[0]]
    return math.exp(-sum(p * math.log(p) for p in shares))


def alpha_req(eigenvalues, first, last):
    """Minus the slope of log(eigenvalue) over log(rank), ranks first to last, squared residuals weighted by 1/rank."""
    positive = sorted((v for v in eigenvalues if v > 0), reverse=True)
    ranks = range(first, min(last, len(positive)) + 1)
    x, y = [math.log(i) for i in ranks], [math.log(positive[i - 1]) for i in ranks]
    return -np.polyfit(x, y, 1, w=[i**-0.5 for i in ranks])[0]


def lidar(z, delta):
    """The exponential of the entropy of the eigenvalues of W^-1 B; samples are classes, and views what these hold."""
    n, m, k = z.shape
    mean, between, within = z.mean(axis=(0, 1)), np.zeros((k, k)), np.zeros((k, k))
    for sample in z:
        between += np.outer(sample.mean(axis=0) - mean, sample.mean(axis=0) - mean) / n
        for view in sample:
            within += np.outer(view - sample.mean(axis=0), view - sample.mean(axis=0)) / (n * m)
    within += delta * np.trace(between + within) / k * np.eye(k)
    values = [v for v in np.linalg.eigvals(np.linalg.solve(within, between)).real if v > 0]
    return math.exp(-sum(v / sum(values) * math.log(v / sum(values)) for v in values))


def two_nearest(z):
    """Distances to the two nearest other points, and the index of the nearest, of each row."""
    found = []
    for i in range(len(z)):
        distances = sorted((math.dist(z[i], z[j]), j) for j in range(len(z)) if j != i)
        found.append((distances[0][0], distances[1][0], distances[0][1]))
    return found


def intrinsic_dimension(z):
    """The two-NN estimate of points that differ."""
    return len(z) / sum(math.log(second / first) for first, second, _ in two_nearest(z))


def view_share(z):
    """E|f(xi) - f(xi')|^2 over pairs of distinct views of a sample, over twice the variance of f, of (n, m, k)."""
    n, m, k = z.shape
    shares = []
    for c in range(k):
        f = z[:, :, c].astype(float)
        pairs = [(f[i, a] - f[i, b]) ** 2 for i in range(n) for a in range(m) for b in range(m) if a != b]
        shares.append(sum(pairs) / len(pairs) / (2 * np.mean((f - f.mean()) ** 2)))
    return np.array(shares)


# ---------------------------------------------------------------- streams


def tree_sum(values, width):
    """Sum by a tree whose nodes add ``width`` children from left to right."""
    while len(values) > 1:
        nodes = []
        for start in range(0, len(values), width):
            total = values[start]
            for value in values[start + 1 : start + width]:
                total = total + value
            nodes.append(total)
        values = nodes
    return values[0]


def view_differences(z, beta, unbiased):
    """beta E |psi - psi'|^2 over pairs of views of each sample: distinct ones if unbiased, else all."""
    n, m, _ = z.shape
    total = 0.0
    for sample in z:
        for a in range(m):
            for b in range(m):
                total += ((sample[a] - sample[b]) ** 2).sum()
    return beta * total / (n * m * (m - 1 if unbiased else m))


def group_risk(z, group, beta, unbiased):
    """The risk whose products are over pairs of samples of different groups."""
    n, m, k = z.shape
    products, pairs = 0.0, 0
    for i in range(n):
        for j in range(n):
            if group[i] != group[j]:
                products += ((z[i] @ z[j].T) ** 2).sum() / m**2
                pairs += 1
    trace = (z**2).sum() / (n * m)
    return view_differences(z, beta, unbiased) + products / pairs - 2 * trace + k


def encoded(columns, missing, categories):
    """Coordinates of columns (lists of numbers, words and None), cell by cell: names, rows, numbers of the rows kept.

    None if no row is left.
    """
    names, made = [], []
    if categories == "drop":
        columns = {n: cells for n, cells in columns.items() if not any(isinstance(cell, str) for cell in cells)}
    if missing == "drop":
        cells = list(columns.values())
        whole = [i for i in range(len(cells[0])) if all(each[i] is not None for each in cells)]
        if not whole:
            return None
        columns = {name: [cells[i] for i in whole] for name, cells in columns.items()}
    for name, cells in columns.items():
        words = sorted({cell for cell in cells if isinstance(cell, str)})
        if not words:
            names.append(name)
            made.append(list(cells))
        else:
            for word in words:
                names.append(f"{name}={word}")
                made.append([None if cell is None else float(cell == word) for cell in cells])
    if missing != "drop":
        whole = range(len(made[0]))
        for column in made:
            there = [value for value in column if value is not None]
            mean = sum(there) / len(there)
            column[:] = [mean if value is None else value for value in column]
    return names, np.array(made).T, list(whole)
