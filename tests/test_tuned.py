"""The tuned part: small, exact, and refused where it does not belong."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from samparser_monai.errors import InputError
from samparser_monai.methods import coefficients, decoder_only
from samparser_monai.sam import SamNetwork, architecture, build
from samparser_monai.tuned import load_tuned, save_tuned


def trained(decoder: str = "frozen") -> SamNetwork:
    network = coefficients(build("tiny"), decoder=decoder)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("decoder", ["frozen", "tuned"])
def test_loaded_network_is_the_saved_one(decoder: str, tmp_path: Path) -> None:
    network = trained(decoder)
    save_tuned(tmp_path / "t.safetensors", network, {"decoder": decoder}, network.state_dict())
    other = coefficients(build("tiny"), decoder=decoder)
    about = load_tuned(tmp_path / "t.safetensors", other)
    assert about["decoder"] == decoder and about["backbone"] == "tiny"
    image = torch.randn(1, 3, 128, 128)
    torch.testing.assert_close(other(image), network(image), rtol=0, atol=0)


def test_512_numbers_fit_in_4_kilobytes(tmp_path: Path) -> None:
    network = coefficients(architecture("mobile_sam"), decoder="frozen")
    about = {"decoder": "frozen", "labels": {"liver": 1, "kidney": 2}, "window": [-160, 240]}
    save_tuned(tmp_path / "t.safetensors", network, about, network.state_dict())
    assert sum(t.numel() for t in load_file(tmp_path / "t.safetensors").values()) == 512
    assert (tmp_path / "t.safetensors").stat().st_size <= 4096


def test_refused_where_it_does_not_belong(tmp_path: Path) -> None:
    path, network = tmp_path / "t.safetensors", trained()
    save_tuned(path, network, {}, network.state_dict())
    elsewhere = coefficients(build("tiny"), decoder="frozen")
    elsewhere.base_sha256 = "0123"
    with pytest.raises(InputError, match=r"sha256 seeded, this network is 0123"):
        load_tuned(path, elsewhere)
    with pytest.raises(InputError, match=r"does not fit this method.*parametrizations"):
        load_tuned(path, decoder_only(build("tiny")))

    tensors = load_file(path)
    name = min(tensors)
    save_file({**tensors, name: tensors[name] * float("nan")}, path)
    with pytest.raises(InputError, match=f"{name} holds numbers that are not finite"):
        load_tuned(path, network)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot be read"):
        load_tuned(path, network)
