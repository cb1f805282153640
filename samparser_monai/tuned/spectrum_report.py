"""The spectrum report of a tuned part: which coefficients moved, and how far."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from samparser_monai.errors import InputError, writable
from samparser_monai.files import replacing, write_json
from samparser_monai.harness.verdict import verdict
from samparser_monai.sam import SamNetwork
from samparser_monai.spectrum import SpectralWeight

MOVED = 0.01
"""A coefficient has moved that changed by more than this share of itself."""

Spectra = dict[str, tuple[Tensor, Tensor]]
"""Layer -> its coefficients before and after tuning, (r,) each, the largest first."""


def write_spectrum_report(
    network: SamNetwork, about: dict[str, Any], folder: str | Path, results: str | Path
) -> dict[str, Any]:
    """Write ``spectrum.json`` and ``spectrum.png``; return the first's content.

    Args:
        network: with its tuned part.
        about: what the tuned part belongs to.
        folder: of the files.
        results: of the harness, for the verdict.

    Raises:
        InputError: the network's method tunes no coefficients; the folder cannot be written.
    """
    spectra, folder = spectra_of(network), writable("folder", folder)
    options = {key: network.options.get(key) for key in ("decoder", "space")}
    options = {key: value for key, value in options.items() if value is not None}
    options["backbone"] = network.backbone
    report = {
        "about": about,
        "verdict": verdict(results, about.get("scenario", "NAME"), options),
        "layers": {name: shift(*spectrum) for name, spectrum in spectra.items()},
        "coefficients": {
            name: {"before": before.tolist(), "after": after.tolist()}
            for name, (before, after) in spectra.items()
        },
    }
    write_json(folder / "spectrum.json", report)
    draw_spectra(spectra, folder / "spectrum.png")
    return report


def spectra_of(network: nn.Module) -> Spectra:
    """Return the coefficients that a network's method tunes.

    Raises:
        InputError: there are none, or bases are mixed with one another besides.
    """
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, ParametrizationList) and isinstance(module[0], SpectralWeight):
            if module.original1.requires_grad and module[0].diagonal:
                after = module[0].coefficients(module.original1.detach())
                found[name.removesuffix(".parametrizations.weight")] = (module[0].start, after)
    if not found:
        raise InputError(
            f"method {network.method!r} with {network.options} tunes no coefficients, or mixes "
            "bases besides, so there is no spectrum to report on: give a tuned part of coefficients"
        )
    return found


def shift(before: Tensor, after: Tensor) -> dict[str, Any]:
    """Return how far the coefficients of one layer, (r,), moved.

    ``weight_change`` is the norm of W' - W as a share of W's: bases are orthonormal.
    """
    before, after = before.double(), after.double()
    absolute, relative = (after - before).abs(), _relative(before, after).abs()
    return {
        "count": len(before),
        "moved": int((relative > MOVED).sum()),
        "sign_changes": int((after * before < 0).sum()),
        "absolute": {"median": float(absolute.median()), "max": float(absolute.max())},
        "relative": {"median": float(relative.median()), "max": float(relative.max())},
        "weight_change": float((after - before).norm() / before.norm()),
    }


def _relative(before: Tensor, after: Tensor) -> Tensor:
    """Return p' / p - 1, and 0 where p was and is 0."""
    tiny = torch.finfo(torch.float32).tiny
    return (after.double() - before) / before.double().clamp_min(tiny)


def draw_spectra(spectra: Spectra, path: Path) -> None:
    """Draw each coefficient's relative change over its size, and the changes of each layer."""
    height = max(3.5, 0.35 * len(spectra) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, height), layout="constrained")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(spectra)))
    for row, (color, (before, after)) in enumerate(zip(colors, spectra.values(), strict=True)):
        change = 100 * _relative(before, after).numpy()
        left.scatter(before, change, s=6, alpha=0.6, color=color)
        low, middle, high = np.quantile(change, (0.05, 0.5, 0.95))
        right.plot([change.min(), change.max()], [row, row], ":", color=color)
        right.plot([low, high], [row, row], color=color, linewidth=3)
        right.plot(middle, row, "o", color=color)
    left.set(xscale="log", xlabel="coefficient before tuning", ylabel="relative change (%)")
    right.set(xlabel="relative change (%)\nall, 90 %, median")
    right.set_yticks(range(len(spectra)), map(_caption, spectra, spectra.values()), fontsize=8)
    right.set_ylim(len(spectra) - 0.5, -0.5)
    left.axhline(0, color="gray", linewidth=0.8)
    right.axvline(0, color="gray", linewidth=0.8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def _caption(layer: str, spectrum: tuple[Tensor, Tensor]) -> str:
    moved = shift(*spectrum)
    return (
        f"{layer}\n{moved['moved']} of {moved['count']} moved, {moved['sign_changes']} changed "
        f"sign, weight {100 * moved['weight_change']:.0f} %"
    )
