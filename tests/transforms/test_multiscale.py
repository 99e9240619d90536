"""Squeezing, factoring out, and flows of images that are made of it; wavelets and cosines against SciPy and by hand."""

import copy

import pytest
import torch

import pushforward as pf
from pushforward.testing import check_flow, randomize
from pushforward.transforms import DCT, Haar, Squeeze


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4)])
def test_the_log_determinant_of_glow_is_that_of_autodiff(shape):
    flow = randomize(pf.glow(shape, levels=2, steps=2, hidden=8)).double()
    x = torch.rand(6, *shape, dtype=torch.float64)
    flow.initialize(x)
    assert check_flow(flow, x).logdet_error < 1e-10


@pytest.mark.slow
def test_24_steps_are_inverted_in_float32_and_the_check_reports_it():
    flow = randomize(pf.glow((1, 8, 8), levels=3, steps=8, hidden=16), scale=0.2)
    x = torch.rand(6, 1, 8, 8)
    flow.initialize(x)
    assert check_flow(flow, x, tolerance=1e-3).round_trip_error < 1e-3


@pytest.mark.parametrize("recipe", [pf.glow, pf.realnvp])
def test_the_latent_is_one_row_and_comes_back_exactly(recipe):
    flow = randomize(recipe((1, 8, 16), **({"levels": 2, "steps": 1} if recipe is pf.glow else {"hidden": (8,)})))
    flow, z = flow.double(), torch.randn(5, 128, dtype=torch.float64)
    x = flow.transform.inverse(z)[0]
    assert x.shape == (5, 1, 8, 16)
    torch.testing.assert_close(flow.transform(x)[0], z)


def test_squeezing_turns_blocks_of_pixels_into_channels():
    x = torch.arange(16.0).view(1, 4, 4)
    z = Squeeze()(x)[0]
    assert torch.equal(z[:, 0, 0], torch.tensor([0.0, 1.0, 4.0, 5.0]))
    assert torch.equal(Squeeze().inverse(z)[0], x)


def test_initialising_standardises_the_activations():
    flow = pf.glow((1, 8, 8), levels=2, steps=2, hidden=8)
    x = torch.rand(200, 1, 8, 8) * 50 + 1000
    assert flow(x).mean() < -1e5
    flow.initialize(x)
    z = flow.transform(x)[0]
    assert z.abs().mean() < 2
    assert flow(x).mean() > -1000


def test_the_temperature_scales_the_spread_of_samples():
    flow = pf.glow((1, 4, 4), levels=1, steps=1, hidden=8)
    cold, warm = (flow.sample((500,), temperature=t).std() for t in (0.5, 1.0))
    assert cold / warm == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("recipe", [pf.glow, pf.realnvp])
def test_classes_condition_every_level(recipe):
    flow = recipe(
        (1, 8, 8), context=3, **({"levels": 2, "steps": 1, "hidden": 4} if recipe is pf.glow else {"hidden": (4,)})
    )
    flow = randomize(flow)
    x, one_hot = torch.rand(1, 8, 8), torch.eye(3)
    assert flow(x, one_hot).unique().numel() == 3
    assert flow.sample((2,), one_hot).shape == (2, 3, 1, 8, 8)


@pytest.mark.compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler's own look at its inputs
def test_compiling_changes_nothing_and_copies_are_not_tied_to_it():
    flow = randomize(pf.glow((1, 4, 4), levels=2, steps=1, hidden=4))
    x, z = torch.rand(3, 1, 4, 4), torch.randn(3, 16)
    expected, expected_x = flow(x), flow.transform.inverse(z)[0]
    flow.compile(backend="eager")
    torch.testing.assert_close(flow(x), expected)
    torch.testing.assert_close(flow.transform.inverse(z)[0], expected_x)
    twin = randomize(copy.deepcopy(flow))
    assert not torch.allclose(twin.transform.inverse(z)[0], expected_x)


@pytest.mark.compiler
@pytest.mark.usefixtures("fast_room")
def test_every_level_is_one_graph():
    torch.compiler.reset()
    graphs = []
    flow = pf.glow((1, 4, 4), levels=2, steps=1, hidden=4)
    with torch.no_grad():
        flow.compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)(torch.rand(3, 1, 4, 4))
    assert len(graphs) == 2


def test_shapes_that_cannot_be_squeezed_are_refused_with_the_mend():
    with pytest.raises(ValueError, match=r"28 x 28 can be halved 2 times, but levels=3.*levels=2 at most.*32 x 32"):
        pf.glow((1, 28, 28))
    with pytest.raises(ValueError, match=r"7 x 6 can be halved 0 times"):
        Squeeze((1, 7, 6))
    with pytest.raises(ValueError, match=r"\(channels, height, width\)"):
        pf.glow((28, 28))


@pytest.mark.parametrize("recipe", [pf.glow, pf.realnvp])
@pytest.mark.parametrize("shape", [(63,), (), (2, 1, 8), (5, 2, 8, 8), (5, 1, 7, 8)])
def test_images_and_latents_of_another_shape_are_refused(recipe, shape):
    transform = recipe((1, 8, 8), hidden=8 if recipe is pf.glow else (8,)).transform
    for way in (transform, transform.inverse, transform.generate):
        with pytest.raises(ValueError, match=r"64.* got a batch"):
            way(torch.zeros(shape))


def test_odd_images_work_where_nothing_is_squeezed():
    flow = randomize(pf.realnvp((1, 5, 7), hidden=(8,))).double()
    assert check_flow(flow, torch.rand(6, 1, 5, 7, dtype=torch.float64)) is not None


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
    dctn = pytest.importorskip("scipy.fft").dctn
    torch.testing.assert_close(DCT()(x)[0], torch.from_numpy(dctn(x.numpy(), axes=(-2, -1), norm="ortho")))


def test_an_odd_image_is_refused() -> None:
    with pytest.raises(ValueError, match="can be halved 0 times"):
        Haar((1, 3, 4))


def test_a_flow_with_wavelets_is_saved(tmp_path) -> None:
    flow = pf.Flow(pf.transforms.Compose([DCT(), Haar(by_wavelet=True)]), (4, 2, 2), event_shape=(1, 4, 4))
    pf.save(flow, tmp_path / "model")
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(pf.load(tmp_path / "model").log_prob(x), flow.log_prob(x))
