"""Images mixed of two photographs: more faces to ask a teacher about than there are people.

After Zhang et al., "mixup: Beyond Empirical Risk Minimization", https://arxiv.org/abs/1710.09412;
asking the teacher what it makes of a mixed image is from Beyer et al., "Knowledge distillation: A
good teacher is patient and consistent", https://arxiv.org/abs/2106.05237.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from facenet_core.training.input.crops import Crops

# What is drawn from the seed, besides the numbers of `order` and `classes`.
_MIXES = 8
# Of each of the two photographs.
_LEAST_SHARE = 0.35


@dataclass(frozen=True, eq=False)
class Mixes:
    """Images behind the photographs of a data set: mix i has the row number of those + i.

    Attributes:
        rows: int64 [n, 2], the two photographs of each.
        shares: float32 [n], how much of the first one there is.
        mirrored: bool [n], whether the second one is.
    """

    rows: np.ndarray
    shares: np.ndarray
    mirrored: np.ndarray

    @classmethod
    def draw(cls, rows: np.ndarray, count: int, seed: int) -> Self:
        """So many mixes, each of two different ones of these rows int64 [n]."""
        random = np.random.default_rng([seed, _MIXES])
        first = random.integers(0, len(rows), count)
        second = (first + random.integers(1, max(len(rows), 2), count)) % len(rows)
        shares = random.uniform(_LEAST_SHARE, 1 - _LEAST_SHARE, count).astype(np.float32)
        return cls(
            np.stack([rows[first], rows[second]], axis=1), shares, random.random(count) < 0.5
        )

    def __len__(self) -> int:
        return len(self.rows)

    def decode_rows(self, crops: Crops, rows: np.ndarray, crop_size: tuple[int, int]) -> np.ndarray:
        """Pixels uint8 [n, height, width, 3] RGB of photographs and mixes.

        Raises:
            TrainingError: as `Crops.decode_rows`.
        """
        mixed = np.flatnonzero(rows >= len(crops))
        numbers = rows[mixed] - len(crops)
        alone = rows.copy()
        alone[mixed] = self.rows[numbers, 0]
        images = crops.decode_rows(alone, crop_size)
        images[mixed] = self._mixed(
            numbers, images[mixed], crops.decode_rows(self.rows[numbers, 1], crop_size)
        )
        return images

    def _mixed(self, numbers: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Images uint8 [n, h, w, 3] of these mixes."""
        mirrored = self.mirrored[numbers]
        second[mirrored] = second[mirrored, :, ::-1]
        share = self.shares[numbers, None, None, None]
        return np.rint(share * first + (1 - share) * second).astype(np.uint8)

    def of_others(self, row_of: np.ndarray) -> Mixes:
        """The same mixes of other crops of these photographs, whose rows are int64 [rows]."""
        return Mixes(row_of[self.rows], self.shares, self.mirrored)
