"""What of a person is drawn flat: hair behind the head, neck, clothes, ears."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facenet_core.synthetic_faces.head import View
from facenet_core.synthetic_faces.identity import Identity
from facenet_core.synthetic_faces.light import Colour, Lamp, lay
from facenet_core.synthetic_faces.shot import Shot
from facenet_core.synthetic_faces.texture import ellipse_points, fill, streaks


def draw_hair_behind(
    canvas: np.ndarray, person: Identity, lamp: Lamp, view: View, rng: np.random.Generator
) -> None:
    """Hair that falls to the jaw or the shoulders, as a curtain behind them."""
    p = person
    size = canvas.shape[0]
    end = p.chin_y + 0.9 if p.hair_style == "long" else 1.15
    wide = p.temple_width * (1.12 + 1.2 * p.hair_thickness)
    flare = wide * rng.uniform(0.95, 1.15)
    points = np.array([
        (0.0, p.crown_y, -0.4), (0.75 * wide, p.crown_y + 0.35, -0.4), (wide, -0.5, -0.4),
        (1.05 * wide, 0.5, -0.4), (flare, end, -0.4), (0.4, end + 0.1, -0.4),
        (-0.4, end + 0.1, -0.4), (-flare, end, -0.4),
        (-1.05 * wide, 0.5, -0.4), (-wide, -0.5, -0.4),
        (-0.75 * wide, p.crown_y + 0.35, -0.4),
    ])  # fmt: skip
    mask: np.ndarray = np.zeros((size, size), np.uint8)
    fill(mask, view.project(points), 255)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.5)
    strands = np.clip(0.6 + 0.3 * streaks(rng, size, size, 5, 110), 0.2, 1.3)
    lay(canvas, mask, strands[..., None] * lamp.flat(p.hair_colour, 0.55))


@dataclass(frozen=True)
class _Torso:
    """The rows of a canvas below the jaw, and where body points (x, y) in units lie in them."""

    canvas: np.ndarray
    top: int
    centre: float
    tilt: float
    chin: float
    view: View

    @classmethod
    def below(cls, canvas: np.ndarray, person: Identity, view: View) -> _Torso:
        """The body follows the head a little, in its shift and its tilt."""
        chin = view.project(np.array([[0.0, person.chin_y, 0.0]]))[0]
        height = (chin[1] - view.y) / view.unit
        top = max(0, int(view.y + (height - 0.9) * view.unit))
        centre = view.x + 0.6 * (chin[0] - view.x)
        return cls(canvas[top:], top, centre, 0.25 * view.roll, height, view)

    def mask(self, outline: list[tuple[float, float]]) -> np.ndarray:
        """uint8 [h, w], 255 inside the outline; its y counts from the chin."""
        x, y = np.array(outline).T * self.view.unit
        y += self.chin * self.view.unit
        sin, cos = np.sin(self.tilt), np.cos(self.tilt)
        across, down = x * cos - y * sin + self.centre, x * sin + y * cos + self.view.y - self.top
        mask = np.zeros(self.canvas.shape[:2], np.uint8)
        fill(mask, np.stack([across, down], axis=1), 255)
        return mask

    def heights(self) -> np.ndarray:
        """How far each row lies below the chin, float32 [h]."""
        rows = np.arange(self.canvas.shape[0], dtype=np.float32) + self.top - self.view.y
        return (rows / self.view.unit - self.chin).astype(np.float32)

    def cylinder(self, colour: Colour, half_width: float, lamp: Lamp) -> np.ndarray:
        """Linear colour of each column of an upright cylinder, float32 [w, 3]."""
        columns = np.arange(self.canvas.shape[1], dtype=np.float32) - self.centre
        across = np.clip(columns / (half_width * self.view.unit), -0.92, 0.92).astype(np.float32)
        normals = np.stack([across, np.full_like(across, -0.1), np.sqrt(1 - across**2)], axis=1)
        light = lamp.on(normals)[:, None] * lamp.colour + lamp.ambient
        return np.square(np.asarray(colour, np.float32)) * light


def draw_body(
    canvas: np.ndarray,
    person: Identity,
    shot: Shot,
    lamp: Lamp,
    view: View,
    rng: np.random.Generator,
) -> None:
    """Neck and clothes: flat shapes, lit as if they were cylinders."""
    torso = _Torso.below(canvas, person, view)
    if len(torso.canvas):
        _draw_neck(torso, person, lamp)
        _draw_clothes(torso, person, shot, lamp, rng)


def _draw_neck(torso: _Torso, person: Identity, lamp: Lamp) -> None:
    neck = person.neck_width
    mask = torso.mask(
        [(-neck, -0.9), (neck, -0.9), (neck, 0.2), (1.25 * neck, 0.75), (-1.25 * neck, 0.75),
         (-neck, 0.2)]
    )  # fmt: skip
    skin = torso.cylinder(person.skin_colour, neck, lamp)
    shadow_of_chin = np.clip(0.3 + 0.9 * (torso.heights() - 0.1), 0.2, 0.85)
    lay(torso.canvas, mask, skin[None] * shadow_of_chin[:, None, None])


def _draw_clothes(
    torso: _Torso, person: Identity, shot: Shot, lamp: Lamp, rng: np.random.Generator
) -> None:
    slope, breadth, collar = rng.uniform((0.2, 1.8, 0.25), (0.55, 2.4, 0.75))
    neck = 1.12 * person.neck_width
    mask = torso.mask(
        [(-neck, 0.25), (-breadth, 0.35 + slope), (-breadth - 0.3, 3.0), (breadth + 0.3, 3.0),
         (breadth, 0.35 + slope), (neck, 0.25), (0.0, 0.3 + collar)]
    )  # fmt: skip
    height, width = mask.shape
    creases = 1.0 + 0.25 * streaks(rng, height, width, 4, 8)
    if rng.random() < 0.4:
        stripes = np.sin(np.arange(height, dtype=np.float32) * np.float32(rng.uniform(0.25, 0.9)))
        creases *= 1.0 + 0.35 * (stripes > 0.2).astype(np.float32)[:, None]
    cloth = torso.cylinder(shot.clothes_colour, 2.2, lamp)
    lay(torso.canvas, mask, np.maximum(creases, 0.3)[..., None] * cloth[None])


def draw_ears(canvas: np.ndarray, person: Identity, lamp: Lamp, view: View, nearer: bool) -> None:
    """The ears behind the outline of the head, or the one that the head has turned to us."""
    p = person
    if p.hair_style in ("bob", "long"):
        return
    size = canvas.shape[0]
    for side in (-1, 1):
        turned = -side * np.sin(view.yaw)
        if nearer != (turned > 0.12):
            continue
        rear = np.array([[side * (1.0 + 0.3 * p.ear_stick_out) * p.cheek_width, 0.22, -0.15]])
        x, y = view.project(rear)[0]
        half_width = view.unit * p.ear_size * (0.3 + p.ear_stick_out + 0.5 * max(turned, 0.0))
        outer = ellipse_points(x, y, half_width, view.unit * p.ear_size)
        inner = ellipse_points(x, y, 0.55 * half_width, 0.6 * view.unit * p.ear_size)
        core = ellipse_points(x, y, 0.35 * half_width, 0.42 * view.unit * p.ear_size)
        facing = 0.25 + 0.5 * max(0.0, float(lamp.direction[0]) * side + 0.3)
        mask = np.zeros((size, size), np.uint8)
        fill(mask, outer, 255)
        lay(canvas, mask, lamp.flat(p.skin_colour, facing))
        mask[:] = 0
        fill(mask, inner, 90)
        fill(mask, core, 130)
        lay(canvas, mask, 0.4 * lamp.flat(p.skin_colour, facing))
