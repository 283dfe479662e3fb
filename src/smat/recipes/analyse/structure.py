"""What pools and their runs show without any images: where experts are open, what they share, how they were learned."""

from collections.abc import Collection, Iterator, Sequence

from smat.analysis.contributions import read_contributions
from smat.analysis.curves import GateCourse, gate_course
from smat.analysis.overlap import compare_masks
from smat.metatuning.kept import kept_pools
from smat.recipes.analyse.capacity_part import Capacities, capacity_part
from smat.recipes.analyse.course_part import course_part
from smat.recipes.analyse.overlap_part import Agreement, overlap_part
from smat.recipes.analyse.parts import Part
from smat.recipes.analyse.subjects import Subject


def structure_parts(subjects: Sequence[Subject], allow_imports: Collection[str] = ()) -> Iterator[Part]:
    """The parts, each as it is finished.

    Args:
        subjects: the pool, and the one that it is compared with, if any.
        allow_imports: packages whose code may be imported where kept pools name classes outside smat.
    """
    contributions = {subject.name: read_contributions(subject.pool) for subject in subjects}
    yield capacity_part({name: Capacities.of(each) for name, each in contributions.items()})
    dense = {name for name, each in contributions.items() if each.masks.all()}
    several = {
        name: Agreement.of(each) for name, each in contributions.items() if each.experts > 1 and name not in dense
    }
    between = compare_masks(*contributions.values()) if len(subjects) > 1 and not dense else None
    if several or between:
        yield overlap_part(several, list(contributions), between)
    del contributions
    runs = {subject.name: subject.curves for subject in subjects if subject.curves}
    if runs:
        yield course_part(runs, dict(_gate_courses(subjects, allow_imports)))


def _gate_courses(subjects: Sequence[Subject], allow_imports: Collection[str]) -> Iterator[tuple[str, GateCourse]]:
    for subject in subjects:
        if subject.run and len(kept_pools(subject.run)) > 1 and subject.pool.gates() is not None:
            yield subject.name, gate_course(subject.run, tuple(allow_imports))
