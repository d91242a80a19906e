"""The features of a face that move: eyes, brows, mouth and the folds around it."""

from __future__ import annotations

import cv2
import numpy as np

from facenet_core.synthetic_faces.head import Profile, to_texture
from facenet_core.synthetic_faces.identity import Identity
from facenet_core.synthetic_faces.shot import Shot
from facenet_core.synthetic_faces.texture import curve, ellipse_points, fill, stroke

Colour = tuple[float, float, float]

WHITE_OF_EYE: Colour = (226.0, 218.0, 212.0)
TEETH: Colour = (228.0, 220.0, 206.0)
GULLET: Colour = (52.0, 18.0, 18.0)


def draw_features(colour: np.ndarray, person: Identity, shot: Shot, shape: Profile) -> None:
    """Draw eyes, brows and mouth onto a face's texture uint8 [h, w, 3], in place."""
    _folds(colour, person, shot, shape)
    for side in (-1, 1):
        _eye(colour, person, shot, shape, side)
        _brow(colour, person, shot, shape, side)
    _mouth(colour, person, shot, shape)


def _scaled(colour: Colour, *factors: float) -> Colour:
    """An sRGB colour in 0..1 as 0..255, times one factor or one for each channel."""
    red, green, blue = np.clip(np.asarray(colour) * factors * np.float64(255.0), 0, 255)
    return float(red), float(green), float(blue)


def _window(points: np.ndarray, margin: int, image: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns around texture points, as an index."""
    left, top = np.maximum(points.min(axis=0).astype(int) - margin, 0)
    right, bottom = points.max(axis=0).astype(int) + margin + 1
    return slice(top, min(bottom, image.shape[0])), slice(left, min(right, image.shape[1]))


def _mix(image: np.ndarray, over: np.ndarray | Colour, mask: np.ndarray, strength: float) -> None:
    """Lay `over` onto a piece of the texture, by mask uint8 [h, w], in place."""
    alpha = (mask * np.float32(strength / 255.0))[..., None]
    image[:] = image + (np.asarray(over, np.float32) - image) * alpha


def _eye(colour: np.ndarray, person: Identity, shot: Shot, shape: Profile, side: int) -> None:
    p = person
    squint = 1.0 - 0.28 * max(0.0, shot.smile)
    x, y = side * p.eye_distance, p.eye_y
    lift = p.eye_tilt * p.eye_width
    inner = (x - side * p.eye_width, y + 0.5 * lift + 0.012)
    outer = (x + side * p.eye_width, y - 0.5 * lift)
    above = y - p.eye_height * shot.eye_open * squint
    below = y + 0.62 * p.eye_height * (0.5 + 0.5 * squint)
    upper = curve(np.array([inner, (x - 0.02 * side, above), outer]))
    lower = curve(np.array([outer, (x + 0.03 * side, below), inner]))
    opening = to_texture(shape, np.concatenate([upper, lower]))

    window = _window(opening, 4, colour)
    corner = np.array([window[1].start, window[0].start], np.float64)
    piece = colour[window]
    mask = np.zeros(piece.shape[:2], np.uint8)
    fill(mask, opening - corner, 255)
    eye = np.full(piece.shape, WHITE_OF_EYE, np.uint8)
    iris_x = x + shot.gaze[0] * 0.35 * p.eye_width
    iris_y = 0.5 * (above + below) - 0.01 + shot.gaze[1] * p.eye_height

    def disc(radius: float, tint: Colour, dx: float = 0.0, dy: float = 0.0) -> None:
        ring = ellipse_points(iris_x + dx, iris_y + dy, radius, radius, count=18)
        fill(eye, to_texture(shape, ring) - corner, tint)

    disc(p.iris_radius, _scaled(p.iris_colour, 0.5))
    disc(0.82 * p.iris_radius, _scaled(p.iris_colour, 1.0))
    disc(0.4 * p.iris_radius, (12.0, 10.0, 10.0))
    glint = 0.35 * p.iris_radius
    disc(0.2 * p.iris_radius, (250.0, 250.0, 250.0), glint * shot.light[0], glint * shot.light[1])
    lid_shadow = np.linspace(0.45, 1.0, piece.shape[0], dtype=np.float32)[:, None, None]
    _mix(piece, eye * np.minimum(1.25 * lid_shadow, 1.0), mask, 1.0)

    lash = _scaled(p.hair_colour, 0.35)
    stroke(colour, to_texture(shape, upper), lash, 2)
    stroke(colour, to_texture(shape, lower), _scaled(p.skin_colour, 0.62, 0.5, 0.45), 1)
    if p.lid_crease > 0.25:
        crease = upper - np.array([0.0, 0.03 + 0.05 * p.lid_crease])
        stroke(colour, to_texture(shape, crease), _scaled(p.skin_colour, 0.68, 0.58, 0.52), 1)


def _brow(colour: np.ndarray, person: Identity, shot: Shot, shape: Profile, side: int) -> None:
    p = person
    y = p.brow_y - shot.brow_raise
    start = np.array([side * p.brow_gap, y + 0.3 * p.brow_tilt * p.brow_length])
    reach = min(p.brow_gap + 1.85 * p.brow_length, 0.84 * p.temple_width)
    end = np.array([side * reach, y - 0.7 * p.brow_tilt * p.brow_length])
    middle = 0.45 * start + 0.55 * end - (0.0, p.brow_arch + 0.02)
    centre = curve(np.array([start, middle, end]), 14)
    taper = np.interp(np.linspace(0, 1, 14), (0, 0.15, 0.6, 1), (0.6, 1.0, 0.85, 0.1))
    half = np.stack([np.zeros(14), p.brow_thickness * taper], axis=1)
    outline = to_texture(shape, np.concatenate([centre - half, (centre + half)[::-1]]))

    window = _window(outline, 5, colour)
    corner = np.array([window[1].start, window[0].start], np.float64)
    mask: np.ndarray = np.zeros(colour[window].shape[:2], np.uint8)
    fill(mask, outline - corner, 165)
    roots, tips = centre + half, centre - 1.1 * half + (side * 0.05, -0.02)
    hairs = to_texture(shape, np.concatenate([roots, tips])) - corner
    for root, tip in zip(hairs[:14:2], hairs[14::2], strict=True):
        stroke(mask, np.array([root, tip]), 235, 1)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.1)
    _mix(colour[window], _scaled(p.hair_colour, 0.62), mask, 0.95)


def _mouth(colour: np.ndarray, person: Identity, shot: Shot, shape: Profile) -> None:
    p = person
    smile, gap = shot.smile, 0.13 * shot.mouth_open
    half = p.mouth_width * (1.0 + 0.2 * smile)
    corner_y = p.mouth_y - 0.1 * smile + 0.25 * gap
    left, right = np.array([-half, corner_y]), np.array([half, corner_y])
    seam_y = p.mouth_y + 0.02 * smile
    thin = 1.0 - 0.25 * max(0.0, smile)
    peak = p.mouth_y - p.upper_lip * thin
    dip = peak + 0.45 * p.cupid_bow * p.upper_lip
    bow = np.array([(-0.2 * half, peak), (0.0, dip), (0.2 * half, peak)])
    seam = curve(np.array([right, (0.0, seam_y), left]))
    bottom = seam_y + gap + p.lower_lip * thin
    lower_edge = curve(np.array([left, (0.0, bottom), right]))
    inner_edge = curve(np.array([left, (0.0, seam_y + gap), right]))

    red = 0.35 + 0.65 * p.lip_redness
    lip = _scaled(p.skin_colour, 0.98 - 0.12 * red, 0.92 - 0.32 * red, 0.92 - 0.28 * red)
    darker = _scaled(p.skin_colour, 0.86 - 0.12 * red, 0.78 - 0.3 * red, 0.78 - 0.26 * red)
    fill(colour, to_texture(shape, np.concatenate([[left], bow, [right], seam])), darker)
    fill(colour, to_texture(shape, np.concatenate([lower_edge, seam])), lip)
    if gap > 0.0:
        fill(colour, to_texture(shape, np.concatenate([inner_edge, seam])), GULLET)
        teeth = seam[2:-2] + np.array([0.0, 0.55 * gap])
        fill(colour, to_texture(shape, np.concatenate([seam[2:-2], teeth[::-1]])), TEETH)
    line = _scaled(p.skin_colour, 0.4, 0.24, 0.22)
    stroke(colour, to_texture(shape, seam), line, 1)
    shadow = lower_edge[3:-3] + np.array([0.0, 0.02])
    stroke(colour, to_texture(shape, shadow), _scaled(p.skin_colour, 0.8, 0.72, 0.68), 1)


def _folds(colour: np.ndarray, person: Identity, shot: Shot, shape: Profile) -> None:
    """The furrows from the nose past the corners of the mouth: age and smiles deepen them."""
    p = person
    depth = 0.06 + 0.2 * p.age + 0.3 * max(0.0, shot.smile)
    half = p.mouth_width * (1.12 + 0.2 * shot.smile)
    folds = []
    for side in (-1, 1):
        fold = np.array(
            [
                (side * (p.nose_width + 0.05), p.nose_length - 0.05),
                (side * (half + 0.02), 0.5 * (p.nose_length + p.mouth_y) + 0.03),
                (side * (half + 0.03), p.mouth_y + 0.03),
            ]
        )
        folds.append(to_texture(shape, curve(fold)))
    window = _window(np.concatenate(folds), 8, colour)
    corner = np.array([window[1].start, window[0].start], np.float64)
    mask: np.ndarray = np.zeros(colour[window].shape[:2], np.uint8)
    for fold in folds:
        stroke(mask, fold - corner, 255, 3)
    mask = cv2.GaussianBlur(mask, (0, 0), 2.0)
    _mix(colour[window], _scaled(p.skin_colour, 0.55, 0.42, 0.38), mask, depth)
