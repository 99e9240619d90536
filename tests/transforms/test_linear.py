"""Linear maps: factors reproduce the matrix, both directions agree, log-determinants match slogdet."""

import pytest
import torch

from pushforward.numerics.matrices import reflect
from pushforward.saving.config import build, describe
from pushforward.transforms import PLU, QR, SVD, Diagonal, Linear, MatrixExponential, Permutation, Triangular

MATRICES = {
    "linear": Linear,
    "plu": PLU,
    "householder": QR,
    "exponential": lambda W: QR(W, orthogonal="exponential"),
    "svd": SVD,
    "matrix exponential": MatrixExponential,
}


def random_matrix(m: int = 7, seed: int = 0, determinant: int = 1) -> torch.Tensor:
    W = torch.randn(m, m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return W * torch.where(torch.linalg.det(W).sign() == determinant, 1.0, -1.0) if m % 2 else W


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return module


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("determinant", [1, -1])
def test_the_factors_reproduce_W_and_its_determinant(kind, determinant):
    W = random_matrix(determinant=determinant)
    matrix = MATRICES[kind](W)
    torch.testing.assert_close(matrix.weight(), W, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(matrix.log_abs_det(), torch.linalg.slogdet(W).logabsdet, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", MATRICES)
def test_after_training_both_directions_and_the_log_determinant_are_those_of_the_weight(kind):
    matrix = randomise(MATRICES[kind](random_matrix()))
    W, x = matrix.weight(), torch.randn(2, 3, 7, dtype=torch.float64)
    z, logdet = matrix(x)
    torch.testing.assert_close(z, x @ W.mT)
    torch.testing.assert_close(logdet, torch.linalg.slogdet(W).logabsdet.expand(2, 3))
    back, back_logdet = matrix.inverse(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(back_logdet, -logdet)


@pytest.mark.parametrize("orthogonal", ["householder", "exponential"])
def test_Q_stays_orthogonal_and_R_positive(orthogonal):
    matrix = randomise(QR(random_matrix(), orthogonal=orthogonal))
    identity = torch.eye(7, dtype=torch.float64)
    Q = matrix.rotate(identity)
    torch.testing.assert_close(Q.mT @ Q, identity)
    torch.testing.assert_close(matrix.rotate_back(identity), Q.mT)
    assert (matrix.upper().diagonal() > 0).all()


def test_the_compact_form_equals_reflections_one_after_the_other():
    vectors = torch.randn(5, 5, dtype=torch.float64).tril(-1)
    V, expected = vectors + torch.eye(5), torch.eye(5, dtype=torch.float64)
    for v in V.mT:
        expected = expected @ (torch.eye(5) - 2 * torch.outer(v, v) / v.dot(v))
    torch.testing.assert_close(reflect(vectors, torch.eye(5, dtype=torch.float64)), expected)


@pytest.mark.parametrize("lower", [True, False])
def test_a_triangular_map_reads_only_its_side(lower):
    matrix = randomise(Triangular(4, lower=lower))
    W = torch.func.jacrev(lambda x: matrix(x)[0])(torch.randn(4))
    torch.testing.assert_close(W, W.tril() if lower else W.triu())
    x = torch.randn(3, 4)
    torch.testing.assert_close(matrix.inverse(matrix(x)[0])[0], x)
    torch.testing.assert_close(matrix(x)[1], torch.linalg.slogdet(W).logabsdet.expand(3))


@pytest.mark.parametrize("make", [*MATRICES.values(), Triangular])
def test_a_size_gives_a_start_that_keeps_volumes_and_one_feature_works(make):
    torch.testing.assert_close(make(6).log_abs_det(), torch.zeros(()), atol=1e-5, rtol=0)
    x = torch.randn(3, 1)
    torch.testing.assert_close(make(1).inverse(make(1)(x)[0])[0].abs(), x.abs())


@pytest.mark.parametrize("kind", MATRICES)
def test_a_description_holds_the_size_and_the_tensors_hold_the_matrix(kind):
    matrix = MATRICES[kind](random_matrix())
    description = describe(matrix)
    assert description["arguments"]["weight"] == 7
    again = build(description).double()
    again.load_state_dict(matrix.state_dict())
    assert torch.equal(again.weight(), matrix.weight())


@pytest.mark.parametrize("kind", ["plu", "householder"])
def test_a_singular_or_oblong_or_broken_W_is_refused(kind):
    with pytest.raises(ValueError, match="singular"):
        MATRICES[kind](torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"square.*\(3, 4\)"):
        MATRICES[kind](torch.randn(3, 4))
    with pytest.raises(ValueError, match="finite"):
        MATRICES[kind](torch.full((2, 2), float("nan")))
    with pytest.raises(ValueError, match="at least 1"):
        MATRICES[kind](0)


def test_other_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="lower triangular"):
        Triangular(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="positive diagonal"):
        Triangular(-torch.eye(2))
    with pytest.raises(ValueError, match="must be one of householder, exponential"):
        QR(3, orthogonal="cayley")
    with pytest.raises(ValueError, match="permutation"):
        Permutation([0, 2])
    with pytest.raises(ValueError, match="features"):
        Diagonal(0)
