"""The comparators must refuse what is wrong."""

import numpy as np
import pytest

from .comparators import TOLERANCE, assert_close, assert_same_eigenspaces, assert_same_subspace


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_close_accepts_rounding_and_no_more(dtype):
    expected = np.linspace(1.0, 2.0, 7, dtype=dtype)
    tol = TOLERANCE[np.dtype(dtype)]
    assert_close(expected * dtype(1 + 0.4 * tol), expected)
    with pytest.raises(AssertionError, match="error"):
        assert_close(expected * dtype(1 + 1.5 * tol), expected)
    assert_close(expected + dtype(3 * tol), expected, scale=2.0 * 1.6)
    with pytest.raises(AssertionError, match="error"):
        assert_close(expected + dtype(3 * tol), expected, scale=1.0)


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        ([np.nan, 1.0], [np.nan, 1.0], "not finite"),
        ([1.0, np.nan], [1.0, 1.0], "not finite"),
        ([1.0, 1.0], [1.0, np.nan], "not finite"),
        ([np.inf, 1.0], [np.inf, 1.0], "not finite"),
        ([[1.0, 1.0]], [1.0, 1.0], "shape"),
        ([1.0], [1.0, 1.0], "shape"),
        (1.0, [1.0], "shape"),
        (np.float32([1.0]), [1.0], "dtype"),
        ([1], [1.0], "dtype"),
        ([1, 2], [1, 3], "1 entries differ"),
        ([1e-300, 1.0], [1e-300, -1.0], "error"),
        ([1e-12], [0.0], "error"),
    ],
)
def test_close_refuses(actual, expected, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, expected)


def test_close_against_an_oracle_of_another_dtype():
    assert_close(np.float32([0.1]), [0.1], dtype=np.float32)
    with pytest.raises(AssertionError, match="dtype"):
        assert_close(np.array([0.1]), [0.1], dtype=np.float32)
    assert_close(np.empty((0, 3)), np.empty((0, 3)))


def rotation(angle, size=6):
    r = np.eye(size)
    r[0, 0] = r[3, 3] = np.cos(angle)
    r[0, 3], r[3, 0] = -np.sin(angle), np.sin(angle)
    return r


def test_same_subspace():
    u = np.eye(6)[:, :3]
    mixed = u @ np.random.default_rng(0).standard_normal((3, 3))
    assert_same_subspace(u, mixed)
    assert_same_subspace(rotation(1e-10) @ u, mixed)
    with pytest.raises(AssertionError, match="angle"):
        assert_same_subspace(rotation(1e-6) @ u, mixed)
    with pytest.raises(AssertionError, match="dimensions"):
        assert_same_subspace(u[:, :2], u)
    with pytest.raises(AssertionError, match="dependent"):
        assert_same_subspace(u[:, [0, 1, 1]], u)
    with pytest.raises(AssertionError, match="not finite"):
        assert_same_subspace(u * np.nan, u)


class TestEigenspaces:
    values = np.array([3.0, 2.0, 2.0, 1.0, 1.0, 0.5])
    vectors = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]

    def check(self, values, vectors, **options):
        assert_same_eigenspaces(values, vectors, self.values, self.vectors, **options)

    def test_accepts_signs_and_rotations_inside_blocks(self):
        q = self.vectors.copy()
        q[:, 0] *= -1
        q[:, 1:3] = q[:, 1:3] @ np.array([[0.6, -0.8], [0.8, 0.6]])
        self.check(self.values, q)
        self.check(self.values[:3], q[:, :3])

    def test_a_cut_block_must_stay_in_its_eigenspace(self):
        q = self.vectors.copy()
        q[:, 3] = 0.6 * q[:, 3] + 0.8 * q[:, 4]
        self.check(self.values[:4], q[:, :4])
        q[:, 3] = 0.6 * q[:, 3] + 0.8 * q[:, 5]
        with pytest.raises(AssertionError, match="leaves its eigenspace"):
            self.check(self.values[:4], q[:, :4])

    def test_refuses_wrong_pairs(self):
        q = self.vectors
        with pytest.raises(AssertionError, match="angle"):
            self.check(self.values, q[:, [1, 0, 2, 3, 4, 5]])
        with pytest.raises(AssertionError, match="error"):
            self.check(self.values + 1e-6 * np.eye(6)[5], q)
        with pytest.raises(AssertionError, match="dependent"):
            self.check(self.values, q[:, [0, 1, 1, 3, 4, 5]])
        with pytest.raises(AssertionError, match="not finite"):
            self.check(self.values * np.nan, q)
        with pytest.raises(AssertionError, match="shape"):
            self.check(self.values[:3], q)
