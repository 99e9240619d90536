"""Fixed transforms of images: what their numbers mean, against SciPy and by hand."""

from __future__ import annotations

import pytest
import torch
from scipy.fft import dctn

import pushforward as pf
from pushforward.transforms import DCT, Haar


def test_haar_of_a_block_is_its_mean_and_three_differences() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])
    z, logdet = Haar()(x)
    assert z.flatten().tolist() == [5.5, -1.5, -2.5, 0.5]
    assert logdet == 0
    torch.testing.assert_close(Haar().inverse(z)[0], x)


def test_haar_keeps_lengths_and_sorts_by_wavelet() -> None:
    x = torch.randn(5, 3, 4, 6)
    apart, sorted_ = Haar()(x)[0], Haar((3, 4, 6), by_wavelet=True)(x)[0]
    assert sorted_.shape == (5, 12, 2, 3)
    torch.testing.assert_close(apart.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
    torch.testing.assert_close(sorted_[:, :3], apart[:, ::4])
    torch.testing.assert_close(sorted_[:, :3], 2 * torch.nn.functional.avg_pool2d(x, 2))


def test_cosine_transform_is_scipys() -> None:
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(DCT()(x)[0], torch.from_numpy(dctn(x.numpy(), axes=(-2, -1), norm="ortho")))


def test_an_odd_image_is_refused() -> None:
    with pytest.raises(ValueError, match="can be halved 0 times"):
        Haar((1, 3, 4))


def test_a_flow_with_wavelets_is_saved(tmp_path) -> None:
    flow = pf.Flow(pf.transforms.Compose([DCT(), Haar(by_wavelet=True)]), (4, 2, 2), event_shape=(1, 4, 4))
    pf.save(flow, tmp_path / "model")
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(pf.load(tmp_path / "model").log_prob(x), flow.log_prob(x))
