"""The card of a saved classifier: what it is, in words, for whoever finds the folder."""

import numpy as np

import smat
from smat.adaptation.averaging import models_of
from smat.adaptation.fitted import FittedClassifier
from smat.cards import card, table


def card_of(classifier: FittedClassifier, thumbnails: bool) -> str:
    """The card, in Markdown."""
    models = models_of(classifier.task_model_)
    spec, head = models[0].backbone.spec, models[0].head
    counts = np.bincount(classifier.support_.codes.numpy(), minlength=len(classifier.classes_))
    networks = sum(len(model.networks) for model in models)
    how = f"fine-tuned ({classifier.adapt})" if classifier.task_model_.tuned else "not fine-tuned"
    rows = [(str(name), str(count)) for name, count in zip(classifier.classes_, counts, strict=True)]
    pictures = "Small pictures of the labelled images are in `thumbnails/`." if thumbnails else "It has no pictures."
    text = f"""
# A classifier of images

{len(classifier.classes_)} classes, learned from {len(classifier.support_)} labelled images by smat {smat.__version__}.

{table(["class", "labelled images"], rows)}
- Network: {spec.name}, {spec.image_size} px, {how}; {networks} in all, {sum(model.passes for model in models)} passes
  per image. Head: {type(head).__name__}.
- Images: the centre square, brought to the network's size; turned upright by the camera's note.
- The folder has the features of the labelled images and the names of their files. {pictures}

```
smat predict FOLDER --query photos/new
```

```python
from smat import FewShotClassifier

classifier = FewShotClassifier.load("FOLDER")
classifier.predict(["photo.jpg"])
```
"""
    return card(text, base_model=spec.hub_name)
