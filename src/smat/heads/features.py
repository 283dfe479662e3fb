"""What a head gets to see: features of a task's images by one or several networks, in one or several views."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from smat.heads.views import View, Views

Part = Literal["support", "query"]
FeatureNetwork = Callable[[Tensor], Tensor]
"""Images to features: a backbone, plain or with parameters of its own."""


def in_batches(network: FeatureNetwork, size: int | None) -> FeatureNetwork:
    """The network for so many images at a time, whose memory does not grow with their number; None: for all at once."""
    if size is None:
        return network
    return lambda images: torch.cat([network(batch) for batch in images.split(size)])


def side_by_side(features: Sequence[Float[Tensor, "n dim"]]) -> Float[Tensor, "n networks_dim"]:
    """The features of several networks as one long feature, each of length 1; those of one network as they are."""
    return features[0] if len(features) == 1 else torch.cat([normalize(f, dim=1) for f in features], dim=1)


def averaged(features: Sequence[Float[Tensor, "n dim"]]) -> Float[Tensor, "n dim"]:
    """The mean over several views of features of length 1; those of one view as they are."""
    return features[0] if len(features) == 1 else torch.stack([normalize(f, dim=1) for f in features]).mean(0)


def support_features(
    networks: Sequence[FeatureNetwork], images: Float[Tensor, "n 3 height width"], views: Sequence[View]
) -> Float[Tensor, "views_n networks_dim"]:
    """What a head is fitted to: the features of all images in the first view, then in the second, and so on."""
    return torch.cat([side_by_side([network(view(images)) for network in networks]) for view in views])


def query_features(
    networks: Sequence[FeatureNetwork], images: Float[Tensor, "n 3 height width"], views: Sequence[View]
) -> Float[Tensor, "n networks_dim"]:
    """What a classifier gets: for each image the mean over its views."""
    return averaged([side_by_side([network(view(images)) for network in networks]) for view in views])


class TaskFeatures:
    """Features of a task's support and query, for one head after another; each pass through a network is made once.

    Args:
        support: support images.
        query: query images.

    Attributes:
        reused: seconds that the passes took which were made before, and were needed again since this was set to 0.
    """

    def __init__(
        self, support: Float[Tensor, "n_support 3 height width"], query: Float[Tensor, "n_query 3 height width"]
    ) -> None:
        self.images: dict[Part, Tensor] = {"support": support, "query": query}
        self._known: dict[tuple[Hashable, View, Part], Tensor] = {}
        self._seconds: dict[tuple[Hashable, View, Part], float] = {}
        self.reused = 0.0

    def of(
        self, networks: Mapping[Hashable, FeatureNetwork], views: Views
    ) -> tuple[Float[Tensor, "views_n networks_dim"], Float[Tensor, "n_query networks_dim"]]:
        """As `support_features` of the support and `query_features` of the query.

        Args:
            networks: by keys that say what they are: what was computed under a key is not computed again.
            views: of the images.
        """
        wanted: dict[Part, Sequence[View]] = {"support": views.support, "query": views.query}
        for key, network in networks.items():
            for view in dict.fromkeys(views.support + views.query):
                parts: list[Part] = [part for part, some in wanted.items() if view in some]
                new: list[Part] = [part for part in parts if (key, view, part) not in self._known]
                self.reused += sum(self._seconds[key, view, part] for part in parts if part not in new)
                if new:
                    self._pass(key, network, view, new)
        joined = {
            part: [side_by_side([self._known[key, view, part] for key in networks]) for view in some]
            for part, some in wanted.items()
        }
        return torch.cat(joined["support"]), averaged(joined["query"])

    def _pass(self, key: Hashable, network: FeatureNetwork, view: View, parts: Sequence[Part]) -> None:
        """Parts that are needed of one view go through the network together."""
        start = time.perf_counter()
        sizes = [len(self.images[part]) for part in parts]
        features = self._computed(key, network, view, parts).split(sizes)
        seconds = (time.perf_counter() - start) / sum(sizes)
        for part, size, some in zip(parts, sizes, features, strict=True):
            self._known[key, view, part], self._seconds[key, view, part] = some, seconds * size

    def _computed(self, key: Hashable, network: FeatureNetwork, view: View, parts: Sequence[Part]) -> Tensor:
        return network(view(torch.cat([self.images[part] for part in parts])))
