"""People and photographs of another set, such as that of the validation, in this one."""

from __future__ import annotations

import numpy as np

from facenet_core.audit.duplicates import Copy, how
from facenet_core.audit.faces import Faces
from facenet_core.audit.findings import Finding, Limits, severity
from facenet_core.audit.identities import Cores
from facenet_core.audit.labels import CANDIDATES, deciding_distance, same_person
from facenet_core.audit.neighbours import NONE, nearest


def leaked_people(
    faces: Faces, cores: Cores, others: Faces, theirs: Cores, limits: Limits, exact: int
) -> list[Finding]:
    """The images of people of the other set, under whatever name."""
    if not len(theirs.means) or not len(cores.means):
        return []
    findings = []
    near = nearest(cores.means, theirs.means, CANDIDATES, exact=exact)
    for number, candidates in enumerate(near.rows):
        same = [
            (*deciding_distance(cores, number, theirs, int(one), limits), int(one))
            for one in candidates
            if one != NONE and same_person(cores, number, theirs, int(one), limits)
        ]
        if not same:
            continue
        apart, limit, person = min(same, key=lambda match: match[0] / match[1])
        reason = f"{faces.names[number]} is {others.names[person]} of the other set"
        beyond = severity(limit - apart, limit)
        findings += [
            Finding("leak", int(row), int(theirs.typical[person]), apart, beyond, reason)
            for row in faces.by_identity[number]
            if cores.cluster_of[row] == 0
        ]
    return findings


def leaked_photographs(
    faces: Faces, others: Faces, copies: list[Copy], least: float
) -> list[Finding]:
    """The images that show a photograph of the other set."""
    best: dict[int, Copy] = {}
    for copy in copies:
        if copy.first not in best or copy.alike > best[copy.first].alike:
            best[copy.first] = copy
    findings = []
    for row, copy in best.items():
        apart = float(np.linalg.norm(faces.vectors[row] - others.vectors[copy.second]))
        beyond = severity(min(copy.alike, 1.0) - least, 1 - least)
        reason = f"a photograph of the other set, {others.image_id(copy.second)}: {how(copy)}"
        findings.append(Finding("leak", row, copy.second, apart, beyond, reason))
    return findings
