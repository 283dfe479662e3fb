"""The classifier on images of every form, and what it says to mistakes."""

import pickle
from pathlib import Path
from typing import Any, get_args

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

from passes import count_passes
from small_pools import vit_pool
from smat.adaptation import FewShotClassifier, FineTuneConfig, Kind, TaskModels
from smat.backbones import Backbone
from smat.episodes import prepare
from smat.errors import CheckpointError, ConfigError, DataError
from smat.experts import FeatureCache
from smat.heads import LDA, Auto, HeadName, Mixture, TaskModel, make_head, specialise, usual_strengths
from tasks import adapt, cross_validated_lr
from tiny_images import COLOURS, image, labelled, make_pool


def classifier(**settings: Any) -> FewShotClassifier:
    return FewShotClassifier(make_pool(), device="cpu", **({"precision": "32-true"} | settings))


def test_probabilities_are_those_of_the_specialised_network() -> None:
    pool = make_pool().eval()
    spec = pool.backbone.spec
    images, names = labelled(3)
    queries, truth = labelled(4, start=100)
    fitted = classifier(batch_size=5, head="prototype").fit(images, names)
    assert fitted.classes_.tolist() == sorted(COLOURS)

    def inputs(arrays: list[np.ndarray]) -> torch.Tensor:
        return prepare([Image.fromarray(a) for a in arrays], spec.image_format)

    codes = torch.tensor([sorted(COLOURS).index(name) for name in names])
    with torch.no_grad():
        logits = specialise(pool, inputs(images), codes)(inputs(queries))
    assert fitted.assessment_ is not None
    expected = (logits / fitted.assessment_.temperature).softmax(1)
    found = fitted.predict_proba(queries)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    assert fitted.predict(queries).tolist() == truth
    assert fitted.score(queries, truth) == 1


def test_a_null_expert_keeps_part_of_the_pretrained_network() -> None:
    pool = vit_pool(torch.float32, null_expert=True).eval()
    images, names = labelled(3)
    fitted = FewShotClassifier(pool, device="cpu", precision="32-true").fit(images, names)
    weights = fitted.task_model_.merge_weights
    assert weights.shape == (3,)
    assert 0 < float(weights.sum()) < 0.99
    merged = torch.cat([parameter.flatten() for parameter in fitted.task_model_.backbone.parameters()])
    torch.testing.assert_close(merged, pool.merged_vector(weights))
    np.testing.assert_allclose(fitted.predict_proba(images).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("name", [*get_args(HeadName), "lda:2", "auto:4", "prototype:1"])
def test_a_head_by_name_is_that_of_the_specialised_network(name: str) -> None:
    pool = make_pool().eval()
    (images, names), (queries, truth) = labelled(3), labelled(4, start=100)
    fitted = classifier(head=name).fit(images, names)
    support, wanted = (
        prepare([Image.fromarray(a) for a in arrays], pool.backbone.spec.image_format) for arrays in (images, queries)
    )
    codes = torch.tensor([sorted(COLOURS).index(name) for name in names])
    with torch.no_grad():
        head = make_head(name)
        logits = specialise(pool, support, codes, head=head, strengths=usual_strengths(head, tuned=False))(wanted)
    np.testing.assert_allclose(fitted.decision_function(queries), logits.numpy(), atol=1e-4)
    assert fitted.assessment_ is not None
    expected = (logits.double() / fitted.assessment_.temperature).softmax(1)
    np.testing.assert_allclose(fitted.predict_proba(queries), expected.numpy(), atol=1e-5)
    assert fitted.score(queries, truth) == 1
    given = classifier(head=make_head(name)).fit(images, names)
    np.testing.assert_array_equal(given.predict_proba(queries), fitted.predict_proba(queries))


@pytest.mark.parametrize("strengths", [(0.0, 1.0), (0.0, 0.5, 1.0), (0.5,)])
def test_strengths_are_networks_side_by_side(strengths: tuple[float, ...]) -> None:
    images, names = labelled(2)
    fitted = classifier(head="auto:1", strengths=strengths).fit(images, names)
    model = fitted.task_model_
    assert isinstance(model, TaskModel)
    assert len(model.networks) == len(strengths)
    assert model.passes == len(strengths)
    merged = make_pool().eval().merged_vector(model.merge_weights)
    for network, c in zip(model.networks, strengths, strict=True):
        numbers = torch.cat([parameter.flatten() for parameter in network.parameters()])
        torch.testing.assert_close(numbers, torch.lerp(make_pool().pretrained, merged, c))
    np.testing.assert_allclose(fitted.predict_proba(images).sum(1), 1, atol=1e-6)
    assert fitted.predict(images).tolist() == names


@pytest.mark.parametrize(
    ("settings", "networks"),
    [
        ({"head": "auto"}, 2),
        ({"head": "auto", "strengths": (1.0,)}, 1),
        ({"head": "prototype"}, 1),
        ({"head": "lda:2"}, 1),
        ({"head": "auto", "adapt": "full", "learning_rate": 1e-3, "steps": 1}, 1),
        ({"head": "auto", "adapt": "full", "learning_rate": 0.0}, 2),
        ({"head": "auto", "experts": 0}, 1),
    ],
)
def test_the_head_says_which_networks_it_does_best_with(settings: dict[str, Any], networks: int) -> None:
    images, names = labelled(2)
    pool = make_pool(settings.pop("experts", 3))
    made = FewShotClassifier(pool, device="cpu", precision="32-true", **settings)
    model = made.fit(images, names).task_model_
    assert isinstance(model, TaskModel)
    assert len(model.networks) == networks


def test_heads_and_strengths_are_settings_as_others_are() -> None:
    images, names = labelled(2)
    made = classifier(head=LDA(2.0), strengths=(0.0, 1.0))
    again = clone(made)
    assert again.get_params()["head"] == LDA(2.0)
    assert again.get_params()["strengths"] == (0.0, 1.0)
    assert FewShotClassifier().get_params()["head"] == "auto"
    expected = made.fit(images, names).predict_proba(images)
    np.testing.assert_array_equal(again.fit(images, names).predict_proba(images), expected)
    again.set_params(head="ridge", strengths=(1.0,)).fit(images, names)
    assert not np.allclose(again.predict_proba(images), expected, atol=1e-3)
    kept = pickle.loads(pickle.dumps(classifier(head="auto", strengths=(0.0, 1.0)).fit(images, names)))
    assert kept.predict(images).tolist() == names


def test_a_tuned_network_beside_the_frozen_one() -> None:
    """Fine-tuning changes the last network alone, and the head then goes by its prior."""
    images, names = labelled(2)
    settings: dict[str, Any] = {"head": "auto:1", "strengths": (0.0, 1.0)}
    plain = classifier(**settings).fit(images, names).task_model_
    tuned = classifier(adapt="full", learning_rate=1e-2, steps=2, **settings).fit(images, names).task_model_
    assert isinstance(plain, TaskModel)
    assert isinstance(tuned, TaskModel)
    first, last = (
        [torch.cat([p.flatten() for p in model.networks[place].parameters()]) for model in (plain, tuned)]
        for place in (0, 1)
    )
    assert torch.equal(*first)
    assert not torch.equal(*last)
    assert isinstance(tuned.classifier, Mixture)
    expected = Auto(1, networks=2, weigh=False)
    assert tuned.head.after_tuning().for_networks(2) == expected


def test_every_form_of_image_gives_the_same_result(tmp_path: Path) -> None:
    images, names = labelled(2)
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, array in zip(paths, images, strict=True):
        Image.fromarray(array).save(path)
    forms: list[Any] = [
        images,
        np.stack(images),
        np.stack(images) / 255.0,
        [Image.fromarray(array) for array in images],
        paths,
        [str(path) for path in paths],
        np.array([str(path) for path in paths]),
        tuple(path.read_bytes() for path in paths),
        [*images[:2], *paths[2:]],
    ]
    fitted = classifier().fit(images, names)
    expected = fitted.predict_proba(images)
    for form in forms:
        np.testing.assert_allclose(fitted.predict_proba(form), expected, atol=1e-6)
        np.testing.assert_allclose(classifier().fit(form, names).predict_proba(images), expected, atol=1e-6)
    grey = np.stack(images)[..., 0]
    np.testing.assert_allclose(
        fitted.predict_proba(grey), fitted.predict_proba(np.repeat(grey[..., None], 3, axis=3)), atol=1e-6
    )


@pytest.mark.parametrize("values", [(3, 10, 7), ("a", "c", "b"), (True, False), (2.0, 1.0, 5.0)])
def test_labels_of_any_kind_come_back_as_they_were(values: tuple[Any, ...]) -> None:
    names = list(COLOURS)[: len(values)]
    images = [image(name, i) for i in range(2) for name in names]
    fitted = classifier().fit(images, list(values) * 2)
    assert fitted.classes_.tolist() == sorted(values)
    assert fitted.predict(images).tolist() == list(values) * 2


def test_order_of_the_labelled_images_does_not_matter() -> None:
    images, names = labelled(3)
    queries, _ = labelled(2, start=50)
    order = np.random.default_rng(0).permutation(len(images))
    for head in ("prototype", "ridge", "lda:2"):
        shuffled = classifier(head=head).fit([images[i] for i in order], [names[i] for i in order])
        expected = classifier(head=head).fit(images, names).predict_proba(queries)
        np.testing.assert_allclose(shuffled.predict_proba(queries), expected, atol=1e-5)


def test_probabilities_do_not_depend_on_the_other_images() -> None:
    images, names = labelled(5)
    fitted = classifier(batch_size=4).fit(images, names)
    expected = np.concatenate([fitted.predict_proba([image]) for image in images])
    np.testing.assert_allclose(fitted.predict_proba(images), expected, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(images[::-1]), expected[::-1], atol=1e-5)


def test_a_model_given_as_an_object_stays_as_it_is() -> None:
    pool = make_pool().train()
    digest = joblib.hash(pool)
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    images, names = labelled(2)
    fitted = FewShotClassifier(pool, device="cpu").fit(images, names)
    with torch.no_grad():
        for parameter in fitted.task_model_.parameters():
            parameter.add_(1)
    assert pool.training
    assert joblib.hash(pool) == digest
    assert all(torch.equal(value, before[name]) for name, value in pool.state_dict().items())
    backbone = make_pool().backbone
    parameters = dict(backbone.named_parameters())
    FewShotClassifier(backbone, device="cpu").fit(images, names)
    assert all(value is parameters[name] for name, value in backbone.named_parameters())


def test_a_backbone_is_a_pool_without_experts() -> None:
    images, names = labelled(2)
    pool = make_pool(experts=0)
    np.testing.assert_array_equal(
        FewShotClassifier(pool.backbone, device="cpu").fit(images, names).predict_proba(images),
        FewShotClassifier(pool, device="cpu").fit(images, names).predict_proba(images),
    )


def test_the_task_model_is_a_plain_module_that_can_be_kept(tmp_path: Path) -> None:
    images, names = labelled(2)
    fitted = classifier().fit(images, names)
    assert isinstance(fitted.task_model_, TaskModel)
    assert not any("gate" in name or "router" in name for name, _ in fitted.task_model_.named_parameters())
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))


def test_bf16_is_close_to_float32() -> None:
    images, names = labelled(2)
    exact = classifier().fit(images, names).predict_proba(images)
    rounded = classifier(precision="bf16-mixed").fit(images, names).predict_proba(images)
    np.testing.assert_allclose(rounded, exact, atol=0.05)
    assert not np.array_equal(rounded, exact)


def test_a_precision_left_open_is_the_machines_and_stays_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    images, names = labelled(2)
    monkeypatch.setattr("smat.precision._fastest", lambda _: "bf16-mixed")
    fitted = classifier(precision="auto").fit(images, names)
    rounded = classifier(precision="bf16-mixed").fit(images, names)
    np.testing.assert_array_equal(fitted.predict_proba(images), rounded.predict_proba(images))
    assert fitted.get_params()["precision"] == "auto"


def test_model_selection_works_with_lists_of_images(tmp_path: Path) -> None:
    images, names = labelled(4)
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, array in zip(paths, images, strict=True):
        Image.fromarray(array).save(path)
    assert cross_val_score(classifier(), paths, names, cv=2).tolist() == [1, 1]
    search = GridSearchCV(classifier(), {"margin": [1.0, 1.2]}, cv=2).fit(images, names)
    assert search.predict(images).tolist() == names


def test_unreadable_images_are_all_named(tmp_path: Path) -> None:
    images, names = labelled(2)
    bad = [tmp_path / "absent.png", tmp_path / "broken.png"]
    bad[1].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 of 8 images(.|\n)*absent\.png(.|\n)*broken\.png"):
        classifier().fit([*images, *bad], [*names, "sky", "sky"])
    with pytest.raises(DataError, match=r"broken\.png"):
        classifier().fit(images, names).predict([images[0], str(bad[1])])


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    images, names = labelled(2)

    def fails(X: Any, y: Any, match: str, error: type[Exception] = DataError, **settings: Any) -> None:
        with pytest.raises(error, match=match):
            classifier(**settings).fit(X, y)

    fails([], [], "no images")
    fails(images, names[:-1], "6 images and y 5 labels")
    fails(images, ["sky"] * 6, "all 6 images are of one class, 'sky'")
    fails(images, None, "requires y")
    fails(images, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "continuous", ValueError)
    fails("picture.png", ["sky"], "X is one str, not several")
    fails(Image.fromarray(images[0]), ["sky"], "X is one Image")
    fails(images[0], ["sky"] * 12, r"shape \[12, 10, 3\].*one image\?")
    fails(np.zeros((6, 4)), names, r"shape \[6, 4\]")
    fails(5, names, "X is a int")
    fails([a.astype(np.int64) for a in images], names, "int64")
    fails(images, names, "margin is 0.5", ConfigError, margin=0.5)
    fails(images, names, "head is 'lad'; choose one of prototype, ridge", ConfigError, head="lad")
    fails(images, names, "passes is 3; give 0, 1, 2 or 4", ConfigError, head="lda:3")
    fails(images, names, r"strengths is empty; give one or more, such as \(1.0,\)", ConfigError, strengths=())
    fails(images, names, "a strength is 5; give numbers in 0..4", ConfigError, strengths=(0.0, 5.0))
    fails(images, names, "batch_size is 0", ConfigError, batch_size=0)
    fails(images, names, "learning rate -1", ConfigError, learning_rate=-1.0)
    fails(images, names, "steps is -1", ConfigError, steps=-1)
    fails(images, names, "backbone 'Patches' has none", ConfigError, adapt="lora", learning_rate=1e-3)


def test_an_average_is_of_networks_that_are_fine_tuned_each_by_itself() -> None:
    pool = vit_pool(torch.float32).eval()
    images, names = labelled(2)
    settings: dict[str, Any] = {"device": "cpu", "precision": "32-true", "adapt": "weights", "steps": 2}
    fitted = clone(FewShotClassifier(pool, learning_rate="average", **settings)).fit(images, names)
    assert fitted.get_params()["learning_rate"] == "average"
    assert fitted.learning_rate_ == pytest.approx((1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2))
    assert isinstance(fitted.task_model_, TaskModels)
    of_one_rate = FewShotClassifier(pool, learning_rate=fitted.learning_rate_[2], **settings).fit(images, names)
    again = pickle.loads(pickle.dumps(fitted))
    found = again.predict_proba(images)
    each = []
    for member in fitted.task_model_.members:
        of_one_rate.task_model_, before = member, of_one_rate.task_model_
        each.append(of_one_rate.predict_proba(images))
        of_one_rate.task_model_ = before
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-12)
    np.testing.assert_array_equal(each[2], of_one_rate.predict_proba(images))


def test_tuners_by_experts_need_them() -> None:
    images, names = labelled(2)
    for kind in ("weights", "gates"):
        with pytest.raises(ConfigError, match=f"fine-tuning by {kind} needs experts"):
            FewShotClassifier(make_pool(experts=0), device="cpu", adapt=kind).fit(images, names)
    by_gates = classifier(adapt="gates", learning_rate=1e-3, steps=1).fit(images, names)
    assert 0 < by_gates.task_model_.tuned <= make_pool().layout.size


def test_models_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    images, names = labelled(2)
    for model, match in ((tmp_path, "no smat checkpoint"), (tmp_path / "absent", "neither a checkpoint")):
        with pytest.raises(CheckpointError, match=match):
            FewShotClassifier(model, device="cpu").fit(images, names)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="sees no GPU"):
            FewShotClassifier(make_pool(), device="cuda").fit(images, names)


def test_prediction_needs_a_fit() -> None:
    with pytest.raises(NotFittedError):
        classifier().predict(labelled(1)[0])


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("rate", [1e-3, "support"])
def test_fine_tuning_is_that_of_the_specialised_network(
    kind: Kind, rate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = vit_pool(torch.float32).eval()
    digest = joblib.hash(pool)
    images, names = labelled(2)
    codes = torch.tensor([sorted(COLOURS).index(name) for name in names])
    support = prepare([Image.fromarray(a) for a in images], pool.backbone.spec.image_format)
    flip = kind == "full"
    settings: dict[str, Any] = {"kind": kind, "config": FineTuneConfig(steps=2, batch_size=5, flip=flip), "seed": 3}
    model = specialise(pool, support, codes)
    found = cross_validated_lr(model, support, codes, **settings) if rate == "support" else rate
    expected = adapt(model, support, codes, lr=found, **settings)
    fitted = FewShotClassifier(
        pool,
        device="cpu",
        precision="32-true",
        adapt=kind,
        learning_rate=rate,
        steps=2,
        flip=flip,
        seed=3,
        batch_size=5,
        progress=True,
        head="prototype",
    ).fit(images, names)
    assert fitted.learning_rate_ == found
    assert all(torch.equal(v, expected.state_dict()[n]) for n, v in fitted.task_model_.state_dict().items())
    assert joblib.hash(pool) == digest
    np.testing.assert_allclose(fitted.predict_proba(images).sum(1), 1, atol=1e-12)
    assert FewShotClassifier(pool, device="cpu").fit(images, names).learning_rate_ == 0


def test_features_on_disk_save_passes_and_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (images, names), (queries, _) = labelled(2), labelled(3, start=100)
    seen, noise = count_passes(monkeypatch), 2

    def found(experts: int, cache: Any, **settings: Any) -> tuple[np.ndarray, int]:
        common: dict[str, Any] = {"device": "cpu", "precision": "32-true", "head": "prototype"}
        fitted = FewShotClassifier(make_pool(experts), feature_cache=cache, **common, **settings)
        seen.clear()
        probabilities = clone(fitted).fit(images, names).predict_proba(queries)
        return probabilities, sum(seen)

    plain, passed = found(0, None)
    cold, first = found(0, str(tmp_path))
    warm, second = found(0, FeatureCache(tmp_path))
    assert np.array_equal(plain, cold)
    assert np.array_equal(plain, warm)
    assert (passed, first, second) == (6 + 9, 6 + 9 + 2 * noise, 2 * noise)
    assert found(2, tmp_path)[1] == noise + 6 + 9  # the network merged for the task passes through as ever
    tuned = {"adapt": "full", "learning_rate": 1e-3, "steps": 1}
    plain, passed = found(0, None, **tuned)
    warm, second = found(0, tmp_path, **tuned)
    assert np.array_equal(plain, warm)
    assert second == passed - 6 + noise


def test_a_function_follows_the_fine_tuning_and_may_end_it() -> None:
    class Ended(Exception):
        pass

    seen = []

    def follow(text: str, done: int, total: int) -> None:
        seen.append((text, done, total))
        if done == 2:
            raise Ended

    images, labels = labelled(3)
    classifier = FewShotClassifier("pocket", device="cpu", adapt="full", learning_rate=1e-4, steps=4, progress=follow)
    with pytest.raises(Ended):
        classifier.fit(images, labels)
    assert seen == [("fine-tuning at learning rate 0.0001", done, 4) for done in (1, 2)]
    assert not hasattr(classifier, "classes_")


def test_labelled_images_pass_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda self, images: sizes.append(len(images)) or forward(self, images))
    images, names = labelled(5)
    whole, parts = (classifier(batch_size=size, head="lda").fit(images, names) for size in (64, 4))
    assert max(sizes[-8:]) == 4
    queries = labelled(2, start=50)[0]
    np.testing.assert_allclose(parts.decision_function(queries), whole.decision_function(queries), atol=1e-3)
    parts.add(*labelled(3, start=70))
    assert max(sizes[-4:]) <= 4
