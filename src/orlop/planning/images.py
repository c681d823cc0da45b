"""Plans of images: layers to be made for a load, an import or a commit; what a removal takes away.

image.load, image.import, image.commit
    for each layer that is not there yet: layer.create, layer.apply; for each upload: upload.discard; then layer.seal
    undone after a crash: the layers are removed, and the journal never heard of the image
image.remove
    after one commit that forgets the image, its tags and its layers: layer.remove for each, topmost first
    after a crash the next start finds layers that no record speaks of, and removes them
"""

from collections.abc import Sequence

from orlop.model.image import Image, Layer
from orlop.model.value import dataclass
from orlop.planning.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class LayerToMake:
    layer_id: str  # fresh; chosen by the caller
    parent_id: str  # the driver's id of the layer below, "" for none
    path: str  # of the file that holds its tar,
    offset: int  # from here
    length: int  # this long; -1 = to the end
    position: int  # from the bottom, counted from 1
    diff_id: str = ""  # what its tar must hash to; "" = not known before


def plan_layers(operation: str, subject: str, layers: Sequence[LayerToMake], uploads: Sequence[str]) -> Plan:
    """`uploads`: files that nobody needs once the layers are unpacked. They go before anything is brought to the
    disk, because the sync would bring them there too."""
    steps: list[Step] = []
    for layer in layers:
        arguments = {
            "parent": layer.parent_id,
            "diff_id": layer.diff_id,
            "position": str(layer.position),
            "path": layer.path,
            "offset": str(layer.offset),
            "length": str(layer.length),
        }
        what = f"layer {layer.position}" + (f" ({layer.diff_id})" if layer.diff_id else "")
        steps.append(Step("layer.create", layer.layer_id, f"{what} is not there yet", {"parent": layer.parent_id}))
        steps.append(Step("layer.apply", layer.layer_id, f"{what} is in {layer.path}", arguments))
    steps += [Step("upload.discard", path, "all that was wanted of it is unpacked") for path in uploads]
    reason = "it must survive a power cut before an image uses it"
    steps += [Step("layer.seal", layer.layer_id, reason) for layer in layers]
    return Plan(operation, subject, tuple(steps))


def plan_removal(image: Image, layers: Sequence[Layer]) -> Plan:
    """`layers`: those that no other image uses, topmost first."""
    steps = (Step("layer.remove", layer.id, f"no image uses {layer.diff_id} any more") for layer in layers)
    return Plan("image.remove", image.id, tuple(steps))
