"""Precision and recall of the audit on a set with planted errors, and its time on a million faces.

    python benchmarks/audit.py copies SET ARCHIVE OUT    # 100 photographs of the set again, changed
    python benchmarks/audit.py planted SET COPIES OTHERS --noise 0.05
    python benchmarks/audit.py noisy ARCHIVE OUT --noise 0.2    # a folder with wrong labels
    python benchmarks/audit.py million --dimensions 128

`planted` takes embeddings artifacts: the set, the copies that `copies` made of some of its
photographs, and a set of other people to validate on. It changes labels, splits and merges
identities, adds the copies, and puts people of the others into the set under other names, all by a
seed; of these people every second photograph stays among the others, so that no photograph is in
both. What the audit says of the unchanged set is counted apart: nobody checked it by hand.
"""

from __future__ import annotations

import argparse
import posixpath
import resource
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

from facenet_core import storage
from facenet_core.audit import stage
from facenet_core.audit.duplicates import Photographs
from facenet_core.audit.faces import Faces, read_faces
from facenet_core.audit.findings import Finding, Limits
from facenet_core.audit.identities import find_cores
from facenet_core.audit.neighbours import nearest, nearest_others
from facenet_core.audit.thumbnails import read_thumbnails
from facenet_core.config import AuditConfig
from facenet_core.embedding.artifact import crops_of

CHANGES = ("jpeg", "small", "mirror", "both")
SPLIT, MERGED, LEAKED, COPIES = 10, 10, 15, 100
Set = tuple[Faces, Photographs]


def copies(uri: str, archive: str, out: Path, seed: int) -> None:
    """Write photographs of a set again: encoded anew, scaled to 60 %, mirrored, the latter two."""
    embeddings = storage.open_artifact(storage.absolute(uri), "embed")
    ids = read_faces(embeddings).image_ids.to_pylist()
    picked = sorted(np.random.default_rng(seed).choice(len(ids), COPIES, replace=False).tolist())
    numbers = {ids[row]: number for number, row in enumerate(picked)}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(*member.name.split("/")[1:])
            if (number := numbers.get(path.as_posix())) is None:
                continue
            change, quality = CHANGES[number % 4], (60, 85, 90, 70)[number % 4]
            file = tar.extractfile(member)
            assert file is not None
            image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
            if change in ("small", "both"):
                size = (int(image.width * 0.6), int(image.height * 0.6))
                image = image.resize(size, Image.Resampling.LANCZOS)
            if change in ("mirror", "both"):
                image = ImageOps.mirror(image)
            target = out / path.with_name(f"{path.stem}_{change}.jpg")
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target, quality=quality)


def noisy(archive: str, out: Path, noise: float, seed: int) -> None:
    """Write the photographs of an archive of Name/Name_0001.jpg, some of them under other names.

    These are called Old__Name_0001.jpg, so that one sees which they are.
    """
    rng = np.random.default_rng(seed)
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and m.name.endswith(".jpg")]
        names = [Path(member.name).parent.name for member in members]
        people = sorted({*names})
        count = int(noise * len(members))
        changed = {*rng.choice(len(members), count, replace=False).tolist()}
        for number, (member, name) in enumerate(zip(members, names, strict=True)):
            path = out / name / Path(member.name).name
            if number in changed:
                other = rng.choice([person for person in people if person != name])
                path = out / str(other) / f"{name}__{path.name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            file = tar.extractfile(member)
            assert file is not None
            path.write_bytes(file.read())
    print(f"{count} of {len(members)} photographs of {len(people)} people under another name")


def opened(uri: str) -> Set:
    """The faces and thumbnails of an embeddings artifact; no digests, so that they cannot help."""
    embeddings = storage.open_artifact(storage.absolute(uri), "embed")
    faces = read_faces(embeddings)
    crops = storage.open_artifact(crops_of(embeddings).uri, "align")
    thumbnails = read_thumbnails(crops, faces.image_ids)
    return faces, Photographs(np.asarray(thumbnails), np.full(len(faces), "", object))


def relabelled(one: Set, names: np.ndarray, rows: np.ndarray | None = None) -> Set:
    """Some rows of a set under other names."""
    faces, photographs = one
    rows = np.arange(len(faces)) if rows is None else rows
    distinct, numbers = np.unique(names.astype(str), return_inverse=True)
    changed = Faces(
        faces.image_ids.take(pa.array(rows)),
        tuple(distinct.tolist()),
        numbers.astype(np.int32),
        np.asarray(faces.vectors[rows]),
        faces.scores[rows],
    )
    return changed, Photographs(photographs.thumbnails[rows], photographs.digests[rows])


def joined(sets: list[Set]) -> tuple[Faces, np.ndarray, Photographs]:
    """Several sets as one, and the names of its rows."""
    names = np.concatenate([[faces.name(row) for row in range(len(faces))] for faces, _ in sets])
    whole = Faces(
        pa.concat_arrays([faces.image_ids for faces, _ in sets]),
        (),
        np.zeros(len(names), np.int32),
        np.concatenate([faces.vectors for faces, _ in sets]),
        np.concatenate([faces.scores for faces, _ in sets]),
    )
    thumbnails = np.concatenate([photographs.thumbnails for _, photographs in sets])
    return whole, names, Photographs(thumbnails, np.full(len(names), "", object))


def audited(one: Set, config: AuditConfig, limits: Limits, others: Set) -> list[Finding]:
    faces, photographs = one
    cores = find_cores(faces, limits.same)
    findings = stage.find(faces, cores, photographs, config, limits)
    return findings + stage.find_leaks(faces, cores, photographs, *others, config, limits)


def planted(uris: list[str], noise: float, seed: int, threshold: float) -> None:
    """Print precision and recall of each kind."""
    rng = np.random.default_rng(seed)
    config, limits = AuditConfig(), Limits(threshold)
    base, again, others = (opened(uri) for uri in uris)
    unchanged = audited(base, config, limits, others)
    before = {(f.kind, base[0].image_id(f.row)) for f in unchanged}
    print("unchanged:", dict(Counter(f.kind for f in unchanged)), f"of {len(base[0])} images")

    leaked_names = [n for n, c in Counter(_names(others[0])).items() if c >= 4]
    leaked_names = sorted(rng.choice(sorted(leaked_names), LEAKED, replace=False).tolist())
    other_names = np.array(_names(others[0]))
    into = np.concatenate([np.flatnonzero(other_names == name)[::2] for name in leaked_names])
    stay = np.setdiff1d(np.arange(len(other_names)), into)
    guests = relabelled(others, np.array([f"guest-{n}" for n in other_names[into]]), into)
    others = relabelled(others, other_names[stay], stay)

    whole, names, photographs = joined([base, again, guests])
    count = len(base[0])
    is_copy = np.arange(len(names)) >= count
    is_guest = np.arange(len(names)) >= count + len(again[0])
    is_copy &= ~is_guest
    sizes = Counter(names[:count])
    people = rng.permutation([n for n, c in sorted(sizes.items()) if c >= 8])
    truth: dict[str, set[int]] = {kind: set() for kind in stage.KINDS}
    merged_into = {}
    for first, second in people[SPLIT : SPLIT + 2 * MERGED].reshape(-1, 2):
        merged_into[str(second)] = str(first)
    touched = {*people[: SPLIT + 2 * MERGED].tolist()}
    labels = names.copy()
    split = {}
    for name in people[:SPLIT]:
        rows = rng.permutation(np.flatnonzero((names == name) & ~is_copy))
        labels[rows[: len(rows) // 2]] = f"{name}-again"
        split[f"{name}-again"] = str(name)
    for second, first in merged_into.items():
        labels[names == second] = first
    # Labels of the rest are changed, so that each image has one error.
    rest = np.flatnonzero(~np.isin(names, [*touched]) & ~is_copy & ~is_guest)
    changed = rng.choice(rest, int(noise * count), replace=False)
    targets = np.array(sorted({*names[rest].tolist()}))
    for row in changed:
        labels[row] = rng.choice(targets[targets != names[row]])
    truth["wrong_label"] = {*changed.tolist()}
    truth["leak"] = {*np.flatnonzero(is_guest).tolist()}

    noisy = relabelled((whole, photographs), labels)
    findings = audited(noisy, config, limits, others)
    rows_of = {kind: {f.row for f in findings if f.kind == kind} for kind in stage.KINDS}
    old = {
        kind: {row for row in rows if (kind, whole.image_id(row)) in before}
        for kind, rows in rows_of.items()
    }
    # The second people of merged identities are wrong there, whatever they are called.
    second = {*np.flatnonzero(np.isin(names, [*merged_into])).tolist()}
    rows_of["wrong_label"] -= second
    for kind in ("wrong_label", "leak"):
        _print(kind, truth[kind], rows_of[kind], old[kind])
    anyhow = {f.row for f in findings if f.kind in ("wrong_label", "mixed_identity", "no_face")}
    print(f"  changed labels found as any kind: {len(truth['wrong_label'] & anyhow)}")
    false = rows_of["wrong_label"] - truth["wrong_label"] - old["wrong_label"]
    print(f"  {len(false)} new ones are wrong, {sum(is_copy[row] for row in false)} on copies")
    _print_copies(whole, findings, count, is_copy, _originals(unchanged))

    said = {noisy[0].name(f.row) for f in findings if f.kind == "mixed_identity"}
    was = {name for kind, i in before for name in [_owner(base[0], i)] if kind == "mixed_identity"}
    _print("mixed_identity", {*merged_into.values()}, said, was)
    pairs = {
        frozenset((noisy[0].name(f.row), noisy[0].name(f.other)))
        for f in findings
        if f.kind == "split_identity" and f.other is not None
    }
    pairs_before = {
        frozenset((base[0].name(f.row), base[0].name(f.other)))
        for f in unchanged
        if f.kind == "split_identity" and f.other is not None
    }
    _print("split_identity", {frozenset(pair) for pair in split.items()}, pairs, pairs_before)


def _print(kind: str, truth: set, said: set, before: set) -> None:  # type: ignore[type-arg]
    right = len(truth & said)
    new = said - before | (said & truth)
    print(
        f"{kind}: {right} of {len(truth)} (recall {right / max(len(truth), 1):.3f}), precision "
        f"{right / max(len(said), 1):.3f}, without what the unchanged set had "
        f"{right / max(len(new), 1):.3f}"
    )


def _print_copies(
    whole: Faces,
    findings: list[Finding],
    count: int,
    is_copy: np.ndarray,
    before: dict[int, int],
) -> None:
    """A copy is found where it and its original are said to be of one photograph."""
    original_of = _originals(findings)
    ids = {whole.image_id(row): row for row in range(count)}
    per_change: dict[str, list[bool]] = {change: [] for change in CHANGES}
    right = set()
    for row in np.flatnonzero(is_copy).tolist():
        stem, change = posixpath.splitext(whole.image_id(row))[0].rsplit("_", 1)
        original = ids.get(f"{stem}.jpg")
        if original is None:  # no face was found on it
            continue
        hit = original_of.get(row, row) == original_of.get(original, original)
        per_change[change].append(hit)
        right |= {row} if hit else set()
    total = sum(map(len, per_change.values()))
    # The first rows are those of the unchanged set, of which another one may stay now.
    said_new = {
        row: original
        for row, original in original_of.items()
        if row >= count or before.get(row, row) != before.get(original, original)
    }
    with_copies = {original_of.get(row, row) for row in np.flatnonzero(is_copy).tolist()}
    wrong = [row for row, original in said_new.items() if original not in with_copies]
    print(
        f"duplicate: {len(right)} of {total} (recall {len(right) / total:.3f}), precision without "
        f"what the unchanged set had {1 - len(wrong) / max(len(said_new), 1):.3f}"
    )
    print("  " + ", ".join(f"{c} {sum(hits)} of {len(hits)}" for c, hits in per_change.items()))


def _originals(findings: list[Finding]) -> dict[int, int]:
    """The row that stays, for each that is said to be the same photograph."""
    return {f.row: f.other for f in findings if f.kind == "duplicate" and f.other is not None}


def _names(faces: Faces) -> list[str]:
    return [faces.name(row) for row in range(len(faces))]


def _owner(faces: Faces, image_id: str) -> str:
    ids = faces.image_ids.to_pylist()
    return faces.name(ids.index(image_id))


def million(count: int, people: int, dimensions: int, seed: int, checked: int) -> None:
    """Time and memory of all but duplicates on drawn embeddings, and the index against exactness.

    A face is its person's direction with noise of such a length that two of one person are 0.8
    apart, as in the model's crops of CelebA; 2 % of the labels are changed.
    """
    rng = np.random.default_rng(seed)
    vectors = storage.scratch((count, dimensions))
    centres = _unit(rng.normal(size=(people, dimensions)))
    owners = rng.integers(0, people, count).astype(np.int32)
    scale = np.sqrt(0.8**2 / (2 - 0.8**2) / dimensions)
    for start in range(0, count, 65_536):
        part = owners[start : start + 65_536]
        noise = rng.normal(size=(len(part), dimensions)) * scale
        vectors[start : start + len(part)] = _unit(centres[part] + noise)
    identities = owners.copy()
    changed = rng.choice(count, count // 50, replace=False)
    identities[changed] = rng.integers(0, people, len(changed))
    changed = changed[identities[changed] != owners[changed]]
    ids = pa.array([f"{row:07d}" for row in range(count)])
    names = tuple(f"{n:06d}" for n in range(people))
    faces = Faces(ids, names, identities, vectors, np.ones(count, np.float32))
    print(f"{count:,} faces of {people:,} people, d = {dimensions}; {_memory()}")
    limits, config = Limits(stage.DEFAULT_THRESHOLD), AuditConfig()
    started = time.monotonic()
    cores = find_cores(faces, limits.same)
    print(f"cores {time.monotonic() - started:.0f} s; {_memory()}")
    findings = stage.find(faces, cores, None, config, limits)
    print(f"findings within the set {time.monotonic() - started:.0f} s in all; {_memory()}")
    said = {f.row for f in findings if f.kind == "wrong_label"}
    right = len(said & {*changed.tolist()})
    print(f"wrong labels: recall {right / len(changed):.4f}, precision {right / len(said):.4f}")
    rows = np.sort(rng.choice(count, checked, replace=False))
    started = time.monotonic()
    exact = nearest(vectors[rows], vectors, 8)
    seconds = time.monotonic() - started
    all_seconds = seconds * count / checked
    print(f"exact neighbours {seconds:.0f} s for {checked}, {all_seconds:,.0f} s for all")
    started = time.monotonic()
    near = nearest_others(vectors, 8, exact=0)
    print(f"approximate neighbours {time.monotonic() - started:.0f} s for all; {_memory()}")
    hits = [
        len({*exact.rows[n].tolist()} - {row} & {*near.rows[row].tolist()})
        / len({*exact.rows[n].tolist()} - {row})
        for n, row in enumerate(rows.tolist())
    ]
    print(f"of the exact neighbours the index has {np.mean(hits):.4f}")


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _memory() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB at most"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("copies")
    one.add_argument("embeddings", metavar="SET")
    one.add_argument("archive")
    one.add_argument("out", type=Path)
    one = commands.add_parser("planted")
    one.add_argument("embeddings", nargs=3, metavar="EMBEDDINGS")
    one.add_argument("--noise", type=float, default=0.05)
    one.add_argument("--threshold", type=float, default=stage.DEFAULT_THRESHOLD)
    one = commands.add_parser("noisy")
    one.add_argument("archive")
    one.add_argument("out", type=Path)
    one.add_argument("--noise", type=float, default=0.2)
    one = commands.add_parser("million")
    one.add_argument("--faces", type=int, default=1_000_000)
    one.add_argument("--people", type=int, default=20_000)
    one.add_argument("--dimensions", type=int, default=128)
    one.add_argument("--checked", type=int, default=1000)
    options = parser.parse_args()
    if options.command == "copies":
        copies(options.embeddings, options.archive, options.out, options.seed)
    elif options.command == "noisy":
        noisy(options.archive, options.out, options.noise, options.seed)
    elif options.command == "planted":
        planted(options.embeddings, options.noise, options.seed, options.threshold)
    else:
        size = (options.faces, options.people, options.dimensions)
        million(*size, options.seed, options.checked)


if __name__ == "__main__":
    main()
