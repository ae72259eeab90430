import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from service.adaptation_sets.registry import SetRegistry
from service.artifacts.folder import FolderStore
from service.errors import InvalidSet, SoupsearchError
from service.schemas.adaptation_set import AdaptationSet
from tests.service.adaptation_sets.pictures import files_below, picture, two_classes
from tests.service.archives.packing import FORMATS, pack, zip_with


def sixteen_bit() -> bytes:
    buffer = io.BytesIO()
    Image.new("I;16", (8, 6)).save(buffer, "PNG")
    return buffer.getvalue()


def lab() -> bytes:
    buffer = io.BytesIO()
    Image.new("LAB", (8, 6)).save(buffer, "TIFF")
    return buffer.getvalue()


def refused(registry: SetRegistry, store: FolderStore, path: Path) -> SoupsearchError:
    """The refusal of the set at ``path``, which must leave nothing behind."""
    with pytest.raises(SoupsearchError) as caught:
        registry.add(path)
    assert files_below(store.root) == []
    return caught.value


def labelled(labels: object, members: dict[str, bytes]) -> dict[str, bytes]:
    return {"labels.json": json.dumps(labels).encode()} | members


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("top", ["", "shifted/"])
def test_class_folders_are_taken_with_or_without_a_folder_above(
    registry: SetRegistry, tmp_path: Path, form: str, top: str
) -> None:
    members = {top + name: data for name, data in two_classes().items()}
    document = registry.add(pack(tmp_path / "a", members, form))

    assert (document.images, document.classes, document.multi_label) == (4, {"cat": 2, "dog": 2}, False)
    stored = registry.open(document.id)
    assert stored.contents.paths == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert stored.accepted == (("cat",), ("cat",), ("dog",), ("dog",))


def test_the_id_follows_from_contents_alone(registry: SetRegistry, tmp_path: Path) -> None:
    members = two_classes()
    backwards = dict(reversed(members.items()))
    below = {f"top/{name}": data for name, data in members.items()}
    junk = members | {"__MACOSX/._a": b"x", "cat/.DS_Store": b"x"}
    uploads = [(members, "zip"), (backwards, "tar"), (members, "tar.gz"), (below, "zip"), (junk, "tar")]
    ids = {registry.add(pack(tmp_path / "a", each, form)).id for each, form in uploads}
    assert len(ids) == 1
    assert len(registry.list()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"cat/0.png": picture(99)},
        {"cat/2.png": picture(99)},
        {"bird/0.png": picture(99)},
        {"labels.json": b'{"cat/0.png": ["dog"]}'},
        {"label_map.json": b'{"cat": 0, "dog": 1}'},
        {"preprocessing.json": b'{"precropped": true}'},
    ],
)
def test_any_change_changes_the_id(registry: SetRegistry, tmp_path: Path, change: dict[str, bytes]) -> None:
    before = registry.add(pack(tmp_path / "a", two_classes()))
    after = registry.add(pack(tmp_path / "b", two_classes() | change))
    assert before.id != after.id


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_images_of_each_format_come_back_as_pillow_decodes_them(
    registry: SetRegistry, tmp_path: Path, form: str
) -> None:
    data = [picture(seed, form) for seed in (0, 1)]
    document = registry.add(pack(tmp_path / "a", {"cat/0.img": data[0], "dog/0.img": data[1]}))
    images = list(registry.open(document.id).images())
    for image, file in zip(images, data, strict=True):
        assert isinstance(image, Image.Image)
        assert image.tobytes() == Image.open(io.BytesIO(file)).tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "RGB"])
def test_modes_of_eight_bits_or_fewer_are_kept(registry: SetRegistry, tmp_path: Path, mode: str) -> None:
    members = {"cat/0.png": picture(0, mode=mode), "dog/0.png": picture(1, mode=mode)}
    document = registry.add(pack(tmp_path / "a", members))
    assert [image.mode for image in registry.open(document.id).images()] == [mode, mode]  # type: ignore[union-attr]


def test_file_images_fit_models_of_usual_channels_alone(registry: SetRegistry, tmp_path: Path) -> None:
    stored = registry.open(registry.add(pack(tmp_path / "a", two_classes())).id)
    for channels in (1, 3, 4):
        stored.check_channels(channels)
    with pytest.raises(InvalidSet) as caught:
        stored.check_channels(2)
    assert caught.value.code == "channels_mismatch"


def test_images_are_turned_upright(registry: SetRegistry, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    members = {"cat/0.jpg": picture(0, "JPEG", exif=exif.tobytes()), "dog/0.jpg": picture(1, "JPEG")}
    document = registry.add(pack(tmp_path / "a", members))
    assert [image.size for image in registry.open(document.id).images()] == [(6, 8), (8, 6)]


def test_identical_images_are_stored_once_and_given_each_time(registry: SetRegistry, tmp_path: Path) -> None:
    members = {"cat/0.png": picture(0), "dog/0.png": picture(0), "dog/1.png": picture(0)}
    stored = registry.open(registry.add(pack(tmp_path / "a", members)).id)
    assert len(list(stored.images())) == 3
    assert len(set(stored.contents.digests)) == 1


def test_several_accepted_labels(registry: SetRegistry, tmp_path: Path) -> None:
    labels = {"cat/0.png": ["dog", "cat"], "flat.png": ["bird", 7], "cat/1.png": "dog"}
    members = labelled(labels, two_classes() | {"flat.png": picture(9)})
    document = registry.add(pack(tmp_path / "a", members))
    assert document.multi_label
    assert document.classes == {"7": 1, "bird": 1, "cat": 1, "dog": 4}
    accepted = dict(zip((stored := registry.open(document.id)).contents.paths, stored.accepted, strict=True))
    assert accepted == {
        "cat/0.png": ("cat", "dog"),
        "cat/1.png": ("dog",),
        "dog/0.png": ("dog",),
        "dog/1.png": ("dog",),
        "flat.png": ("7", "bird"),
    }


def test_documents_in_the_folder_above_are_found(registry: SetRegistry, tmp_path: Path) -> None:
    members = labelled({"0.png": ["cat"], "1.png": ["dog"]}, {"0.png": picture(0), "1.png": picture(1)})
    document = registry.add(pack(tmp_path / "a", {f"top/{name}": data for name, data in members.items()}))
    assert document.id == registry.add(pack(tmp_path / "b", members, "tar")).id


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("top", ["", "shifted/"])
def test_images_in_one_folder_have_no_label(registry: SetRegistry, tmp_path: Path, form: str, top: str) -> None:
    bare = {f"{top}unlabelled/{index}.png": picture(9 + index) for index in range(3)}
    alone = registry.add(pack(tmp_path / "a", bare, form))
    assert (alone.images, alone.labelled, alone.classes) == (3, 0, {})
    beside = {top + name: data for name, data in two_classes().items()} | bare
    document = registry.add(pack(tmp_path / "b", beside, form))
    assert (document.images, document.labelled, document.classes) == (7, 4, {"cat": 2, "dog": 2})
    assert registry.open(document.id).accepted[-3:] == ((), (), ())


def test_labels_are_added_one_by_one_to_images_that_have_none(registry: SetRegistry, tmp_path: Path) -> None:
    bare = {f"unlabelled/{index}.png": picture(index) for index in range(3)}
    labels = {"unlabelled/0.png": "cat", "unlabelled/2.png": ["dog", "bird"]}
    document = registry.add(pack(tmp_path / "a", labelled(labels, bare)))
    assert (document.images, document.labelled) == (3, 2)
    assert registry.open(document.id).accepted == (("cat",), (), ("bird", "dog"))


def test_a_document_of_an_earlier_version_has_a_label_for_every_image(registry: SetRegistry, tmp_path: Path) -> None:
    document = registry.add(pack(tmp_path / "a", two_classes())).model_dump(mode="json")
    del document["labelled"]
    assert AdaptationSet.model_validate(document).labelled == 4


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("top", ["", "shifted/"])
def test_an_archive_says_that_its_images_are_precropped(
    registry: SetRegistry, tmp_path: Path, form: str, top: str
) -> None:
    members = two_classes() | {"preprocessing.json": b'{"precropped": true}'}
    document = registry.add(pack(tmp_path / "a", {top + name: data for name, data in members.items()}, form))
    stored = registry.open(document.id)
    assert document.precropped
    assert stored.precropped
    assert stored.contents.identity() == document.id


@pytest.mark.parametrize("said", [b"{}", b'{"precropped": false}'])
def test_what_is_not_precropped_is_the_set_that_says_nothing(
    registry: SetRegistry, tmp_path: Path, said: bytes
) -> None:
    plain = registry.add(pack(tmp_path / "a", two_classes()))
    assert not plain.precropped
    assert registry.add(pack(tmp_path / "b", two_classes() | {"preprocessing.json": said})).id == plain.id


def test_integer_classes_are_listed_by_value(registry: SetRegistry, tmp_path: Path) -> None:
    members = {f"{name}/0.png": picture(index) for index, name in enumerate(["10", "2", "1", "zebra"])}
    document = registry.add(pack(tmp_path / "a", members))
    assert list(document.classes) == ["1", "2", "10", "zebra"]
    assert registry.open(document.id).classes == ("1", "2", "10", "zebra")


REFUSALS: dict[str, tuple[dict[str, bytes], str, str]] = {
    "no_images": ({"cat/.DS_Store": b"x"}, "no_images", ""),
    "nothing": ({}, "no_images", ""),
    "one_class": ({"cat/0.png": picture(0), "cat/1.png": picture(1)}, "one_class", "cat"),
    "flat": ({"0.png": picture(0), "1.png": picture(1)}, "misplaced_image", "unlabelled/<image>"),
    "flat_below": ({"top/0.png": picture(0), "top/1.png": picture(1)}, "one_class", "top"),
    "classes_below": ({f"unlabelled/{name}": data for name, data in two_classes().items()}, "misplaced_image", "cat"),
    "labels_below": (
        {"unlabelled/labels.json": b'{"0.png": "cat"}', "unlabelled/0.png": picture(0)},
        "not_an_image",
        "labels.json",
    ),
    "one_labelled": ({"cat/0.png": picture(0), "unlabelled/1.png": picture(1)}, "one_class", "cat"),
    "no_folder": (two_classes() | {"0.png": picture(9)}, "misplaced_image", "0.png"),
    "too_deep": (two_classes() | {"cat/more/0.png": picture(9)}, "misplaced_image", "cat/more/0.png"),
    "text": (two_classes() | {"cat/README.txt": b"hello"}, "not_an_image", "cat/README.txt"),
    "empty_file": (two_classes() | {"cat/2.png": b""}, "not_an_image", "cat/2.png"),
    "svg": (two_classes() | {"cat/2.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, "not_an_image", "cat/2.svg"),
    "stray_document": (two_classes() | {"cat/labels.json": b"{}"}, "not_an_image", "cat/labels.json"),
    "cut_png": (two_classes() | {"cat/2.png": picture(9)[:-40]}, "image_damaged", "cat/2.png"),
    "cut_jpeg": (two_classes() | {"cat/2.jpg": picture(9, "JPEG")[:-20]}, "image_damaged", "cat/2.jpg"),
    "sixteen_bits": (two_classes() | {"cat/2.png": sixteen_bit()}, "image_mode", "cat/2.png"),
    "lab": (two_classes() | {"cat/2.tif": lab()}, "image_mode", "cat/2.tif"),
    "line": (two_classes() | {"cat/2.png": picture(9, size=(1, 101))}, "image_too_large", "1 x 101"),
    "pixels": (two_classes() | {"cat/2.png": picture(9, size=(65, 64))}, "image_too_large", "65 x 64"),
    "many": ({f"c{i % 2}/{i}.png": picture(0) for i in range(121)}, "too_many_images", "120"),
    "empty_folder": (two_classes() | {"bird/": b""}, "empty_folder", "bird"),
    "labels_syntax": (two_classes() | {"labels.json": b"{"}, "invalid_labels", "labels.json"),
    "labels_type": (labelled([1, 2], two_classes()), "invalid_labels", "labels.json"),
    "labels_float": (labelled({"cat/0.png": [1.5]}, two_classes()), "invalid_labels", "cat/0.png"),
    "labels_none": (labelled({"cat/0.png": []}, two_classes()), "invalid_labels", "cat/0.png"),
    "labels_blank": (labelled({"cat/0.png": [""]}, two_classes()), "invalid_labels", "cat/0.png"),
    "labels_twice": (labelled({"cat/0.png": ["cat", "cat"]}, two_classes()), "invalid_labels", "cat/0.png"),
    "labels_one_hot": (labelled({"cat/0.png": [1, 0, 0]}, two_classes()), "invalid_labels", "one-hot"),
    "labels_stray": (labelled({"cat/9.png": ["cat"]}, two_classes()), "unknown_image", "cat/9.png"),
    "labels_deep": (two_classes() | {"labels.json": b"[" * 100_000}, "invalid_labels", "labels.json"),
    "map_syntax": (two_classes() | {"label_map.json": b"nope"}, "invalid_label_map", "label_map.json"),
    "map_bool": (two_classes() | {"label_map.json": b'{"cat": true}'}, "invalid_label_map", "cat"),
    "map_empty": (two_classes() | {"label_map.json": b'{"cat": []}'}, "invalid_label_map", "cat"),
    "preprocessing_syntax": (two_classes() | {"preprocessing.json": b"yes"}, "invalid_preprocessing", "preprocessing"),
    "preprocessing_number": (
        two_classes() | {"preprocessing.json": b'{"precropped": 1}'},
        "invalid_preprocessing",
        "precropped",
    ),
    "preprocessing_unknown": (
        two_classes() | {"preprocessing.json": b'{"crop_pct": 1.0}'},
        "invalid_preprocessing",
        "crop_pct",
    ),
    "unknown_document": (two_classes() | {"settings.json": b"{}"}, "not_an_image", "settings.json"),
    "map_lacks": (two_classes() | {"label_map.json": b'{"cat": 3}'}, "unknown_class", "dog"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("members", "code", "named"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_name_what_is_wrong_and_leave_nothing(
    *,
    registry: SetRegistry,
    store: FolderStore,
    tmp_path: Path,
    members: dict[str, bytes],
    code: str,
    named: str,
    form: str,
) -> None:
    error = refused(registry, store, pack(tmp_path / "a", members, form))
    assert (error.code, named in error.detail) == (code, True), error.detail
    assert error.param == ("label_map" if code == "unknown_class" else "adaptation_set")
    assert error.status == (413 if code.startswith("too_many") or code.endswith("too_large") else 422)


def test_an_unsafe_archive_leaves_nothing(registry: SetRegistry, store: FolderStore, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("dog/9.png")
    link.external_attr = 0o120777 << 16
    assert refused(registry, store, zip_with(tmp_path / "a", link, two_classes())).code == "link_member"


def test_a_huge_label_file_is_refused(registry: SetRegistry, store: FolderStore, tmp_path: Path) -> None:
    registry._settings.max_unpacked_bytes = 2**26
    members = two_classes() | {"labels.json": b" " * (2**25 + 1)}
    assert refused(registry, store, pack(tmp_path / "a", members)).code == "document_too_large"


def test_an_image_that_pillow_itself_calls_a_bomb_is_refused(
    registry: SetRegistry, store: FolderStore, tmp_path: Path
) -> None:
    bomb = b"P4 60000 60000\n"
    error = refused(registry, store, pack(tmp_path / "a", two_classes() | {"cat/2.pbm": bomb}))
    assert (error.code, error.status) == ("image_too_large", 413)


def test_a_label_map_in_request_and_archive_must_agree(
    registry: SetRegistry, store: FolderStore, tmp_path: Path
) -> None:
    members = two_classes() | {"label_map.json": b'{"dog": [1], "cat": [0, 5]}'}
    path = pack(tmp_path / "a", members)
    with pytest.raises(InvalidSet) as caught:
        registry.add(path, {"cat": 0, "dog": 1})
    assert (caught.value.code, caught.value.param) == ("two_label_maps", "label_map")
    same = registry.add(path, {"cat": [5, 0], "dog": 1})
    assert same.label_map == {"cat": [0, 5], "dog": [1]}
    assert same.id == registry.add(path).id
    assert same.id == registry.add(pack(tmp_path / "b", two_classes()), {"cat": [0, 5], "dog": [1]}).id
