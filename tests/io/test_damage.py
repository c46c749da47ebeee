"""Damaged and hostile files: a clear error, or what was saved, and nothing in between.

    python -m tests.io.test_damage 20000 [npz checkpoint safetensors]

damages so many files of each kind; the tests do so with a few hundred.
"""

import importlib.util
import random
import re
import sys
import tempfile
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.io import load, load_checkpoint, read_checkpoint, save, save_checkpoint
from minigrad.io.plain import difference


def cut(rng, data):
    return data[: rng.randrange(len(data))]


def flipped(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def overwritten(rng, data):
    n = rng.choice([1, 2, 4, 16, 512])
    at = rng.randrange(len(data))
    return (data[:at] + rng.choice([rng.randbytes(n), bytes(n)]) + data[at + n :])[: len(data)]


def shifted(rng, data):
    at, n = rng.randrange(len(data)), rng.choice([1, 2, 7, 64])
    return data[:at] + rng.choice([data[at + n :], rng.randbytes(n) + data[at:]])


def swapped(rng, data):
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    n = rng.choice([1, 8, 64])
    return data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :]


DAMAGES = [cut, flipped, flipped, overwritten, shifted, swapped]


class Net(nn.Module):
    def __init__(self, seed):
        self.a = nn.Linear(2, 3, rng=seed)
        self.größe = mg.tensor(np.array(seed))


def training(seed):
    net = Net(seed)
    return {"net": net, "optimizer": mg.optim.Adam(net.parameters())}


def damaged(kind, count, seed):
    """Damage a file so often; return how often it was read all the same."""
    rng, unharmed = random.Random(seed), 0
    first, second = training(1), training(2)
    first["net"].a(np.ones((1, 2), np.float32)).sum().backward()
    first["optimizer"].step()
    values = {"x": (None, np.inf, "größe"), "y": np.arange(3)} if kind == "checkpoint" else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run.{kind}"
        if values:
            save_checkpoint(path, **first, **values)
            read = lambda: load_checkpoint(path, **second)
        else:
            del first["optimizer"], second["optimizer"]
            save(first["net"], path)
            read = lambda: load(second["net"], path)
        state = lambda parts: {name: part.state_dict() for name, part in parts.items()}
        data, before = path.read_bytes(), state(second)
        for k in range(count):
            harm = DAMAGES[k % len(DAMAGES)]
            path.write_bytes(harm(rng, data))
            refusal = None
            try:
                got = read()
            except ValueError as error:
                refusal = str(error)
            except BaseException as error:
                raise AssertionError(f"{kind}, damage {k}, {harm.__name__}: {error!r}") from error
            if refusal is not None:
                assert str(path) in refusal, (k, refusal)
                assert difference(state(second), before, "state") == "", (k, refusal)
                continue
            assert difference(got, values, "values") == "", (k, harm.__name__)
            assert difference(state(second), state(first), "state") == "", (k, harm.__name__)
            unharmed += 1
            for name, part in second.items():
                part.load_state_dict(before[name])
    return unharmed


KINDS = [
    "npz",
    "checkpoint",
    pytest.param(
        "safetensors",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed"
        ),
    ),
]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind):
    unharmed = damaged(kind, 300, 0)
    assert unharmed < 150


def member(array, version=(1, 0)):
    file = BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version, allow_pickle=True)
    return file.getvalue()


def text(forms):
    return member(np.frombuffer(forms.encode(), np.uint8))


def header(dtype, shape):
    file = BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def whole(value='"v"', first='"minigrad.checkpoint 1"', classes='["dict"]', random='["dict"]'):
    """Return the text of a checkpoint with one part, x, in JSON."""
    return text(f'[{first}, {classes}, {random}, ["dict", ["x", {value}]]]')


class Pickled:
    def __reduce__(self):
        return print, ("executed",)


DEEP = "[" * 100_000
HOSTILE = {
    "a pickle": ([("text.npy", whole()), ("0.npy", member(np.array([Pickled()])))], "pickled"),
    "PyTorch's": ([("archive/data.pkl", b"..."), ("archive/data/0", b"")], "a pickle, which"),
    "weights": ([("weight.npy", member([1.0]))], r"'weight.npy'\]; minigrad.io.load reads"),
    "no text": ([("text.npy", member([1.0, 2.0]))], "codec|JSON|Expecting|decode"),
    "deep": ([("text.npy", text(DEEP))], "recursion"),
    "deep values": ([("text.npy", whole('["list", ' * 200 + "1" + "]" * 200))], "too deeply"),
    "version": ([("text.npy", whole(first='"minigrad.checkpoint 2"'))], "'minigrad.checkpoint 2'"),
    "too few": ([("text.npy", text('["minigrad.checkpoint 1"]'))], "expected 4"),
    "too many": ([("text.npy", text('["minigrad.checkpoint 1", 1, 2, 3, 4]'))], "too many values"),
    "names": ([("text.npy", whole(classes="[]"))], r"holds \[\]"),
    "no names": ([("text.npy", whole(classes='["list"]'))], "its parts have no names"),
    "states": ([("text.npy", whole(classes='["dict", ["y", "Linear"]]'))], "it lacks states"),
    "what is it": ([("text.npy", whole('["object", "os.system"]'))], "'os.system'"),
    "an object": ([("text.npy", whole('{"a": 1}'))], r"\{'a': 1\}"),
    "NaN": ([("text.npy", whole("NaN"))], "holds NaN"),
    "many digits": ([("text.npy", whole("9" * 5000))], "digits"),
    "keys": ([("text.npy", whole('["dict", [["list"], 1]]'))], "unhashable"),
    "a key twice": ([("text.npy", whole('["dict", ["a", 1], ["a", 2]]'))], "'dict'"),
    "no pairs": ([("text.npy", whole('["dict", 3]'))], "unpack"),
    "a float": ([("text.npy", whole('["float", "00"]'))], "unpack"),
    "no array": ([("text.npy", whole('["array", 0]'))], "'array', 0"),
    "a negative one": (
        [("text.npy", whole('["array", -1]')), ("0.npy", member([1.0]))], "'array', -1",
    ),
    "one twice": (
        [("text.npy", whole('["list", ["array", 0], ["array", 0]]')), ("0.npy", member([1.0]))],
        "not those",
    ),
    "one more": ([("text.npy", whole()), ("0.npy", member([1.0]))], "not those"),
    "other names": ([("text.npy", whole()), ("../../0.npy", member([1.0]))], "'0'"),
    "a path": ([("text.npy", whole()), ("/etc/passwd", b"")], "'/etc/passwd', which is no array"),
    "a scalar of two": (
        [("text.npy", whole('["scalar", 0]')), ("0.npy", member([1.0, 2.0]))], "'scalar', 0",
    ),
    "a scalar of text": (
        [("text.npy", whole('["scalar", 0]')), ("0.npy", member("a"))], "'scalar', 0",
    ),
    "huge": ([("text.npy", whole()), ("0.npy", header("<f8", (10**15,)))], "not as many bytes"),
    "overflowing": (
        [("text.npy", whole()), ("0.npy", header("<f8", (2**32, 2**32)))], "not as many bytes",
    ),
    "negative": (
        [("text.npy", whole()), ("0.npy", header("<f8", (-1, -1)) + bytes(8))], "unknown dimension",
    ),
    "no width": ([("text.npy", whole()), ("0.npy", header("<U0", (10**15,)))], "an array of <U0"),
    "records": ([("text.npy", whole()), ("0.npy", member(np.zeros(1, "f4,i4")))], "an array of"),
    "twice": ([("text.npy", whole()), ("text.npy", whole('"w"'))], "two arrays of one name"),
}  # fmt: skip


def refused(path, message):
    net = nn.Linear(1, 1)
    before = net.state_dict()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="save_checkpoint wrote: ") as error:
            load_checkpoint(path, x=net)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)
    assert re.search(message, str(error.value)), str(error.value)
    assert len(str(error.value)) < 1000
    assert difference(net.state_dict(), before, "state") == ""
    with pytest.raises(ValueError, match="save_checkpoint wrote: "):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_checkpoints(kind, tmp_path, capsys):
    members, message = HOSTILE[kind]
    path = tmp_path / "run.checkpoint"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    refused(path, message)
    assert capsys.readouterr().out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["run.checkpoint"]


def test_a_checkpoint_made_by_hand_is_read(tmp_path):
    """So the files above are refused for what is wrong with each."""
    with zipfile.ZipFile(tmp_path / "c", "w") as archive:
        archive.writestr("text.npy", whole('["list", ["array", 0], ["scalar", 1], ["tuple"]]'))
        archive.writestr("0.npy", member([1.0], (2, 0)))
        archive.writestr("1.npy", member(np.int8(3)))
    assert (
        difference(
            read_checkpoint(tmp_path / "c"), {"x": [np.array([1.0]), np.int8(3), ()]}, "read"
        )
        == ""
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb(method, tmp_path):
    path = tmp_path / "run.checkpoint"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("text.npy", whole())
        archive.writestr("0.npy", member(np.zeros(2 * 10**7, np.uint8)))
    refused(path, "compressed")


def test_members_that_overlap(tmp_path):
    """Many entries for the same bytes, of which each reader would take as many megabytes."""
    path, data = tmp_path / "run.checkpoint", member(np.zeros(10**5))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text.npy", whole())
        archive.writestr("0.npy", data)
        for k in range(1, 100):
            info = zipfile.ZipInfo(f"{k}.npy")
            info.header_offset = archive.getinfo("0.npy").header_offset
            info.file_size = info.compress_size = len(data)
            info.CRC = archive.getinfo("0.npy").CRC
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
        archive._didModify = True
    assert path.stat().st_size < 10**6
    refused(path, "larger than the file")


def test_no_checkpoint_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "absent")
    for data, message in (
        (b"", "it is empty"), (b"text", "no zip file"), (b"PK\3\4 ...", "its end is missing"),
        (b"\x80\2K\1.", "a pickle, which can execute anything"),
    ):  # fmt: skip
        (tmp_path / "c").write_bytes(data)
        refused(tmp_path / "c", message)


if __name__ == "__main__":
    count = int(sys.argv[1])
    for kind in sys.argv[2:] or ("npz", "checkpoint", "safetensors"):
        print(f"{kind}: {count} damages, {damaged(kind, count, 1)} of them without an effect")
