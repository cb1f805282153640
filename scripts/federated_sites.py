"""Synthetic CT of hospitals whose scanners differ: offset, noise and spacing."""

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

SIZE = (300.0, 220.0, 60.0)  # of the body in mm: left to right, front to back, feet to head
ORGANS = {  # label -> ellipsoids: centre and radii as parts of the body, HU over muscle
    1: [((0.30, 0.42, 0.5), (0.20, 0.24, 0.60), 25)],  # liver
    2: [((0.33, 0.74, 0.5), (0.08, 0.11, 0.50), 15), ((0.67, 0.74, 0.5), (0.08, 0.11, 0.50), 15)],
    3: [((0.80, 0.55, 0.5), (0.09, 0.16, 0.50), 20)],  # spleen
    4: [((0.56, 0.47, 0.5), (0.14, 0.06, 0.45), 8)],  # pancreas
}


class Scanner(NamedTuple):
    """What a hospital's pictures have of their scanner."""

    offset: float  # HU
    noise: float  # HU, one standard deviation
    smooth: float  # mm, of the reconstruction
    spacing: tuple[float, float, float]  # mm


SCANNERS = {
    "site-1": Scanner(0, 12, 0.5, (1.6, 1.6, 20.0)),
    "site-2": Scanner(-35, 35, 0.5, (2.0, 2.0, 20.0)),
    "site-3": Scanner(40, 20, 2.0, (2.4, 2.4, 20.0)),
    "unseen": Scanner(20, 30, 1.2, (1.8, 1.8, 20.0)),
}


def make_case(seed: int, scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
    """Return a CT volume in HU and its labels, int16 and uint8."""
    random = np.random.default_rng(seed)
    shape = tuple(round(size / step) for size, step in zip(SIZE, scanner.spacing, strict=True))
    grid = np.stack([(i + 0.5) / n for i, n in zip(np.indices(shape), shape, strict=True)], -1)

    def texture(mm: float) -> np.ndarray:
        field = gaussian_filter(random.normal(size=shape), [mm / s for s in scanner.spacing])
        return field / field.std()

    def inside(centre: tuple, radii: tuple, rough: float) -> np.ndarray:
        at = np.asarray(centre) + random.normal(0, 0.015, 3) * (1, 1, 0)
        size = np.asarray(radii) * random.uniform(0.85, 1.15, 3)
        return (((grid - at) / size) ** 2).sum(-1) + rough * texture(14) < 1

    body = inside((0.5, 0.5, 0.5), (0.48, 0.46, 9.0), 0.03)
    wall = inside((0.5, 0.5, 0.5), (0.42, 0.38, 9.0), 0.05)
    image = np.where(body, np.where(wall, 45.0, -95.0), -1000.0)
    for _ in range(10):  # bowel and vessels, which look like organs
        centre = (*random.uniform(0.25, 0.75, 2), 0.5)
        loop = inside(centre, (*random.uniform(0.03, 0.09, 2), 0.6), 0.2)
        image[loop & wall] = 45 + random.uniform(-60, 25)
    labels = np.zeros(shape, np.uint8)
    for label, parts in ORGANS.items():
        for centre, radii, contrast in parts:
            organ = inside(centre, radii, 0.25) & wall & (labels == 0)
            labels[organ] = label
            image[organ] = 45 + contrast
    image[wall] += 6 * texture(5)[wall]
    image = gaussian_filter(image, [scanner.smooth / s for s in scanner.spacing])
    image += scanner.offset + random.normal(0, scanner.noise, shape)
    return image.astype(np.int16), labels


def make_site(folder: Path, scanner: Scanner, cases: int, seed: int) -> Path:
    """Write a hospital's volumes as images/ and labels/; return the folder."""
    affine = np.diag([-scanner.spacing[0], -scanner.spacing[1], scanner.spacing[2], 1.0])
    for number in range(cases):
        for name, values in zip(
            ("images", "labels"), make_case(seed + number, scanner), strict=True
        ):
            path = folder / name / f"case_{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values, affine), path)
    return folder
