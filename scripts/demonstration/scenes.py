"""What the demonstration pictures show: photographs of scikit-image, synthetic roofs and ships."""

import zlib

import numpy as np
from scipy import ndimage
from skimage import data, draw, filters, segmentation, transform

Scene = tuple[np.ndarray, list[tuple[str, np.ndarray]]]
"""A picture HxWx3 and its instances: names and masks HxW."""

SIDE, CELL = 512, 128  # of a synthetic picture, and of the cells that have one object each, pixels
CRUMB = 100  # of the coins' watershed, pixels
OUTLINES = {  # by hand: corners x,y, or an ellipse x,y,rx,ry, as if a picture had 400 x 300 pixels
    "astronaut": [
        ("person", "119,70 119,45 150,14 215,14 236,48 232,78 205,92 238,130 240,165 275,190 "
         "281,215 225,250 219,299 18,299 25,175 90,130 95,100 140,88"),
        ("helmet", "310,253,91,52"),
    ],
    "chelsea": [
        ("cat", "30,0 27,60 40,105 0,170 0,299 300,299 272,262 278,232 300,190 318,150 322,100 "
         "318,65 355,0"),
        ("eye", "153,116,31,31"),
        ("eye", "282,137,21,27"),
    ],
    "coffee": [("saucer", "185,160,134,130"), ("cup", "194,82,78,70"), ("coffee", "192,110,55,37")],
    "motorcycle": [
        ("motorbike", "76,90 102,96 168,103 245,99 263,65 306,69 327,115 342,165 367,207 357,268 "
         "316,268 281,222 275,184 240,222 194,237 122,243 71,230 66,191 92,153 56,130"),
    ],
    "rocket": [("rocket", "195,100 201,90 207,100 207,290 193,290")],
}  # fmt: skip


def photograph(name: str) -> Scene:
    """Return one of scikit-image's photographs with its outlines."""
    picture = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    instances = []
    for label, outline in OUTLINES[name]:
        mask = np.zeros((300, 400), bool)
        points = np.array([corner.split(",") for corner in outline.split()], float)
        if len(points) > 1:
            mask = draw.polygon2mask(mask.shape, points[:, ::-1])
        else:
            x, y, radius_x, radius_y = points[0]
            mask[draw.ellipse(y, x, radius_y, radius_x, shape=mask.shape)] = True
        instances.append((label, transform.resize(mask, picture.shape[:2], order=0)))
    return picture, instances


def coins() -> list[Scene]:
    """Return the four rows of scikit-image's coins as pictures, with the masks of a watershed."""
    picture = data.coins()
    markers = np.zeros(picture.shape, int)
    markers[picture < 30], markers[picture > 150] = 1, 2
    filled = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(picture), markers) == 2)
    found, _ = ndimage.label(filled)
    scenes = []
    for rows in np.array_split(np.arange(len(picture)), 4):
        strip = found[rows]
        masks = [strip == n for n in range(1, found.max() + 1)]
        instances = [("coin", mask) for mask in masks if mask.sum() > CRUMB]
        scenes.append((np.stack([picture[rows]] * 3, axis=-1), instances))
    return scenes


def roofs(seed: int) -> Scene:
    """Return grass and roofs: rectangles of many colours with a ridge and a shadow."""
    random, picture = _ground(seed, (70, 95, 60))
    instances = []
    for centre in _cells(random, share=0.7):
        half = random.uniform(18, 45, 2)
        angle = random.uniform(0, np.pi)
        roof = _rectangle(centre, half, angle)
        picture[_rectangle(centre + 8, half, angle)] *= 0.4
        colour = random.uniform((110, 70, 60), (220, 170, 160))
        picture[roof] = colour + random.normal(0, 6, (roof.sum(), 3))
        picture[roof & _rectangle(centre, half * (1, 0.5), angle)] *= 0.85
        instances.append(("building", roof))
    return picture.clip(0, 255).astype(np.uint8), instances


def airfield(seed: int) -> Scene:
    """Return dry ground with storage tanks, which are shaded discs, and tennis courts."""
    random, picture = _ground(seed, (150, 135, 110))
    instances = []
    for centre in _cells(random, share=0.7):
        if random.random() < 0.5:
            radius = random.uniform(15, 40)
            mask = _disc(centre, (radius, radius), 0)
            picture[_disc(centre + 6, (radius, radius), 0)] *= 0.5
            picture[mask] = random.uniform(190, 235) + random.normal(0, 4, (mask.sum(), 3))
            picture[mask & ~_disc(centre - 3, (radius, radius), 0)] -= 60
            instances.append(("storage tank", mask))
        else:
            half, angle = np.array([40, 20]), random.uniform(0, np.pi)
            mask = _rectangle(centre, half, angle)
            picture[mask] = (60, 110, 95)
            lines = _rectangle(centre, half * 0.8, angle) & ~_rectangle(centre, half * 0.72, angle)
            picture[lines] = 230
            instances.append(("tennis court", mask))
    return picture.clip(0, 255).astype(np.uint8), instances


def ships(seed: int) -> Scene:
    """Return a sea of radar speckle with bright ships."""
    random = np.random.default_rng(seed)
    echo = np.full((SIDE, SIDE), 18.0)
    instances = []
    for centre in _cells(random, share=0.5):
        length = random.uniform(14, 40)
        mask = _disc(centre, (length, length / random.uniform(3, 5)), random.uniform(0, np.pi))
        echo[mask] = random.uniform(110, 220)
        instances.append(("ship", mask))
    speckled = ndimage.gaussian_filter(echo * random.gamma(2, 0.5, echo.shape), 0.8)
    return np.repeat(speckled.clip(0, 255).astype(np.uint8)[..., None], 3, 2), instances


def _ground(seed: int, colour: tuple[int, int, int]) -> tuple[np.random.Generator, np.ndarray]:
    random = np.random.default_rng([seed, zlib.crc32(bytes(colour))])
    patches = ndimage.gaussian_filter(random.normal(0, 300, (SIDE, SIDE)), 12)
    return random, np.array(colour) + patches[..., None] + random.normal(0, 7, (SIDE, SIDE, 3))


def _cells(random: np.random.Generator, share: float) -> list[np.ndarray]:
    """Return a point (row, column) in a share of the cells, so that objects do not touch."""
    middles = np.indices((SIDE // CELL,) * 2).reshape(2, -1).T * CELL + CELL / 2
    return [m + random.uniform(-10, 10, 2) for m in middles if random.random() < share]


def _rectangle(centre: np.ndarray, half: np.ndarray, angle: float) -> np.ndarray:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half @ turn + centre
    return draw.polygon2mask((SIDE, SIDE), corners)


def _disc(centre: np.ndarray, radii: tuple[float, float], angle: float) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[draw.ellipse(*centre, *radii, shape=mask.shape, rotation=angle)] = True
    return mask
