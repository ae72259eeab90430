"""What a soup's score depends on besides its weights."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple

from workers.jobs.material import Material
from workers.ray_runtime.version import scoring_version


def scope_of(material: Material, hardware: Sequence[str], batch_size: int) -> str:
    """sha256 under which points are journalled: jobs of one scope share every score.

    It covers the pantry, the sets with their labels and selection images, the objectives and constraints with their
    attacks and the attacks' seed, precision and preprocessing, the code that scores, and the kind of device and the
    batch size, on which the last bits of a score depend.
    """
    request = material.request
    document = {
        "pantry": material.pantry.digest,
        "sets": [[each.stored.digest, astuple(each.labels), each.split.selection] for each in material.sets],
        "objectives": [each.model_dump() for each in request.ranked_by],
        "constraints": [each.model_dump() for each in request.constraints],
        "seed": request.seed if request.threat_models else None,
        "precision": request.precision,
        "preprocessing": astuple(material.data_config),
        "code": scoring_version(),
        "hardware": list(hardware),
        "batch_size": batch_size,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
