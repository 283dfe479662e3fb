"""Cards of pools with something in each of their sections."""

from dataclasses import replace

from smat.experts import Analysis, Card, Figure, Result, SparseInterpolatedExperts, Training, TunedDomain, Validation

FIGURE = b"<svg xmlns='http://www.w3.org/2000/svg'/>"

RESULT = Result(
    checkpoint="",
    smat_version="0.1.0",
    method="smat",
    head="auto",
    adapt="none",
    learning_rate="",
    domain="birds",
    role="ood",
    data="0123456789abcdef",
    split="test",
    sampler="FixedSampler",
    way=5,
    shot=1,
    query=15,
    seed=0,
    episodes=600,
    accuracy=0.71234,
    half_width=0.0081,
    difference=0.0204,
    difference_half_width=0.0042,
)


def full_card(pool: SparseInterpolatedExperts) -> Card:
    """A card of this pool in which everything is said."""
    current, tasks = pool.fingerprint(), int(pool.tasks_seen)
    domains = [
        TunedDomain("photos", "training", 40, "a1b2c3d4e5f60718", "owner/photos"),
        TunedDomain("shapes", "validation", 10, "b1b2c3d4e5f60718"),
    ]
    return Card(
        base_model="owner/vit",
        tasks=tasks,
        training=Training(domains, 300, {"tuning.seed": 3}, {"smat": "0.1.0"}, "c0ffee", "Apache-2.0"),
        validation=Validation(tasks, 40, {"shapes": 0.5}),
        results=[replace(RESULT, checkpoint=current)],
        analysis=Analysis(current, ["Experts 0 and 1 open **the same** blocks."], [Figure("open.svg", "Open gates")]),
        metadata={"license": "apache-2.0"},
        files={"figures/open.svg": FIGURE},
    )
