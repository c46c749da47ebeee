"""Saving and loading: files that appear whole, and are read only where all of them fits."""

import os
import stat
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.io import load, save
from minigrad.io.npz import reason

posix = pytest.mark.skipif(os.name != "posix", reason="locks, links and modes are POSIX's")


class Net(nn.Module):
    def __init__(self, seed=0):
        self.layers = [nn.Linear(2, 3, rng=seed), nn.Linear(3, 1, bias=False, rng=seed)]
        self.extra = {"scale": mg.tensor(2.0, requires_grad=True)}
        self.seen = mg.tensor(np.array(3))


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name])
        assert value.dtype == b[name].dtype


def test_what_is_saved_is_loaded(tmp_path):
    net, other, path = Net(), Net(1), tmp_path / "net.npz"
    for given in (path, str(path), os.fsencode(path)):
        save(net, given)
        load(other, given)
        same(net, other)
        other.layers[0].weight.data += 1
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"]
    with np.load(path, allow_pickle=False) as file:  # NumPy reads it too
        np.testing.assert_array_equal(file["layers[0].weight"], net.layers[0].weight.data)


@pytest.mark.parametrize(
    "name",
    [
        "file", "allow_pickle", "self", "a/b", "../up", "/root", "w.npy", "größe", "重み", " ", "",
        "x" * 9000,
    ],
)  # fmt: skip
def test_every_name_can_be_saved(name, tmp_path):
    m, other = nn.Module(), nn.Module()
    for k, module in enumerate((m, other)):
        setattr(module, name, mg.tensor([1.0 + k]))
        module.d = {name: mg.tensor([3.0 + k], requires_grad=True)}
    save(m, tmp_path / "m.npz")
    load(other, tmp_path / "m.npz")
    same(m, other)
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 70_000])
def test_a_name_that_no_file_can_hold_is_refused(name, tmp_path):
    m = nn.Module()
    m.d = {name: mg.tensor([1.0])}
    with pytest.raises(ValueError, match="cannot hold the name"):
        save(m, tmp_path / "m.npz")
    assert not [*tmp_path.iterdir()]


# ---- writing -------------------------------------------------------------------------------------


def test_nothing_of_the_users_is_touched(tmp_path):
    names = ["w.npz.part", "w.npz.tmp", ".w.npz.tmp", "w.npz~", ".minigrad-mine.partial", "w"]
    for name in names:
        (tmp_path / name).write_text("mine")
    save(Net(), tmp_path / "w.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "w.npz"])
    assert [name for name in names if (tmp_path / name).read_text() != "mine"] == []


@posix
def test_links_are_followed_and_modes_stay(tmp_path):
    there, link, dangling = tmp_path / "there", tmp_path / "link.npz", tmp_path / "new.npz"
    there.mkdir()
    save(Net(), there / "net.npz")
    os.chmod(there / "net.npz", 0o600)
    link.symlink_to(there / "net.npz")
    dangling.symlink_to(there / "later.npz")
    net = Net(1)
    save(net, link)
    save(net, dangling)
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert stat.S_IMODE((there / "net.npz").stat().st_mode) == 0o600
    for name in ("net.npz", "later.npz"):
        other = Net()
        load(other, there / name)
        same(net, other)
    umask = os.umask(0o027)
    try:
        save(net, tmp_path / "fresh.npz")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "fresh.npz").stat().st_mode) == 0o640


@posix
def test_the_partial_file_is_no_more_open_than_the_old_one(tmp_path, monkeypatch):
    path, seen = tmp_path / "w.npz", []
    save(Net(), path)
    os.chmod(path, 0o600)
    write = np.lib.format.write_array

    def looking(*args, **kwargs):
        seen.extend(stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob(".minigrad*"))
        write(*args, **kwargs)

    monkeypatch.setattr(np.lib.format, "write_array", looking)
    save(Net(), path)
    assert set(seen) == {0o600}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(error, tmp_path, monkeypatch):
    path, net, other = tmp_path / "w.npz", Net(), Net(1)
    save(net, path)

    def fails(*args, **kwargs):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(np.lib.format, "write_array", fails)
        with pytest.raises(type(error)):
            save(other, path)
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]
    load(other, path)
    same(net, other)


def test_writers_and_readers_at_once(tmp_path):
    """Every reader finds a whole file, of one of the writers; every writer is done in the end."""
    path, errors, done = tmp_path / "w.npz", [], threading.Event()
    nets = [nn.Linear(100, 100, rng=seed) for seed in range(3)]
    sums = {net.weight.data.sum() for net in nets}
    save(nets[0], path)

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    def write(net):
        for _ in range(15):
            save(net, path)

    def read():
        net = nn.Linear(100, 100)
        while not done.is_set():
            load(net, path)
            assert net.weight.data.sum() in sums

    readers = [threading.Thread(target=guarded, args=(read,)) for _ in range(2)]
    writers = [threading.Thread(target=guarded, args=(lambda n=n: write(n),)) for n in nets]
    for t in (*readers, *writers):
        t.start()
    for t in writers:
        t.join()
    done.set()
    for t in readers:
        t.join()
    assert errors == []
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


@posix
def test_what_a_killed_writer_leaves_the_next_one_removes(tmp_path):
    """And a living writer's file stays, in this process or another."""
    code = """
        import os, signal, sys
        import numpy as np, minigrad as mg
        def killed(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGKILL)
        np.lib.format.write_array = killed
        mg.io.save(mg.nn.Linear(1, 1), sys.argv[1])
    """
    program = "\n".join(line[8:] for line in code.splitlines())
    command = [sys.executable, "-c", program, str(tmp_path / "w.npz")]
    assert subprocess.run(command, check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".minigrad-")
    (tmp_path / f".minigrad-{'0' * 16}.partial").symlink_to(tmp_path / "victim")
    net = Net()
    with mg.io.replacing.replacing(str(tmp_path / "other")) as alive:
        save(net, tmp_path / "w.npz")
        assert not left.exists()
        assert Path(alive.name).exists()
    assert (tmp_path / "other").exists()
    load(net, tmp_path / "w.npz")


@posix
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="no regular file"):
            save(Net(), path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"):
        save(Net(), tmp_path / "loop")
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent"):
        save(Net(), tmp_path / "absent" / "w.npz")


def test_a_long_file_name(tmp_path):
    save(Net(), tmp_path / ("x" * 255))
    load(Net(), tmp_path / ("x" * 255))


# ---- reading -------------------------------------------------------------------------------------


def _changed(net, before):
    return any(not np.array_equal(v, before[k]) for k, v in net.state_dict().items())


def _spoiled(data):
    """Spoil a byte in the middle of the first array, which its checksum must notice."""
    at = len(data) // 3
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


def _zip(path, members, **options):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data, **options)


BROKEN = {
    "text": lambda whole: b"no file of ours",
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[:100],
    "cut at the end": lambda whole: whole[:-30],
    "a byte changed": _spoiled,
    "of zeros": lambda whole: bytes(2000),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files(kind, tmp_path):
    net, path = nn.Linear(20, 20, rng=0), tmp_path / "w.npz"
    save(net, path)
    path.write_bytes(BROKEN[kind](path.read_bytes()))
    before = net.state_dict()
    with pytest.raises(
        ValueError, match=r"w\.npz is not a whole file that minigrad\.io\.save wrote"
    ):
        load(net, path)
    assert not _changed(net, before)


def test_a_file_cut_anywhere(tmp_path):
    net, path = nn.Linear(1, 1, rng=0), tmp_path / "w.npz"
    save(net, path)
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match="not a whole file"):
            load(net, path)


def test_files_of_others(tmp_path):
    net, path = nn.Linear(1, 1), tmp_path / "w.npz"
    header = b"\x93NUMPY\x01\x00\x05\x00junk\n"
    array = (tmp_path / "a.npy").open("wb")
    with array:
        np.save(array, np.ones(1, np.float32))
    array = (tmp_path / "a.npy").read_bytes()
    for members in (
        [("archive/data.pkl", b"pickled")],
        [("weight.npy", b"")],
        [("weight.npy", header)],
        [("weight.npy", array), ("bias.npy", array + b"more")],
        [("weight.npy", array), ("bias.npy", array[:-1])],
        [("weight.npy", array), ("bias.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(99))],
        [("weight.npy", array), ("bias.npy", b"\x93NUMPY\x07\x00" + array[8:])],
    ):
        _zip(path, members)
        with pytest.raises(ValueError, match="not a whole file"):
            load(net, path)
    with pytest.warns(UserWarning, match="Duplicate"):
        _zip(path, [("weight.npy", array), ("bias.npy", array), ("bias.npy", array)])
    with pytest.raises(ValueError, match="not a whole file"):
        load(net, path)
    np.savez(path, weight=np.array([[1.0]], object), bias=np.zeros(1))
    with pytest.raises(ValueError, match="not a whole file"):
        load(net, path)
    with pytest.raises(FileNotFoundError):
        load(net, tmp_path / "absent.npz")


def test_a_file_says_all_that_does_not_fit(tmp_path):
    net, path = Net(), tmp_path / "w.npz"
    state = net.state_dict() | {"new": np.ones(1), "seen": np.array(["text"])}
    del state["extra.scale"]
    state["layers[0].bias"] = np.ones(2)
    state["layers[0].weight"] = np.ones((3, 2), [("a", "f4")])
    np.savez(path, **state)
    before = net.state_dict()
    with pytest.raises(ValueError, match=r"w\.npz does not fit this Net") as error:
        load(net, path)
    for part in (
        "missing extra.scale", "unexpected new", "layers[0].bias has shape (2,), expected (3,)",
        "layers[0].weight must hold real numbers, not", "seen must hold real numbers, not <U4",
        "seen has shape (1,), expected ()",
    ):  # fmt: skip
        assert part in str(error.value)
    assert not _changed(net, before)


def test_a_file_with_numbers_that_the_module_cannot_hold(tmp_path):
    net, path = nn.Linear(1, 1, bias=False), tmp_path / "w.npz"
    np.savez(path, weight=np.array([[1e300]]))
    before = net.state_dict()
    with pytest.raises(ValueError, match=r"w\.npz: .*weight holds 1e\+300, which float32 cannot"):
        load(net, path)
    assert not _changed(net, before)


def test_a_tensor_that_is_held_twice_by_either_name(tmp_path):
    net = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    net[1].weight = net[0].weight
    state, path = net.state_dict(), tmp_path / "w.npz"
    state["1.weight"] = state.pop("0.weight") + 1
    np.savez(path, **state)
    load(net, path)
    np.testing.assert_array_equal(net[0].weight.data, state["1.weight"])


NOTHING = bytes(5 * 10**7)
BOMBS = {
    "shape": lambda path: np.savez_compressed(path, weight=np.zeros((10**7, 1)), bias=np.zeros(1)),
    "dtype": lambda path: np.savez_compressed(
        path, weight=np.zeros((1, 1), "V10000000"), bias=np.zeros(1)
    ),
    "header": lambda path: _zip(
        path,
        [("weight.npy", b"\x93NUMPY\x02\x00" + len(NOTHING).to_bytes(4, "little") + NOTHING)],
        compress_type=zipfile.ZIP_DEFLATED,
    ),
    "bzip2": lambda path: _zip(path, [("weight.npy", NOTHING)], compress_type=zipfile.ZIP_BZIP2),
    "lzma": lambda path: _zip(path, [("weight.npy", NOTHING)], compress_type=zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_small_file_takes_little_memory(bomb, tmp_path):
    path = tmp_path / "bomb.npz"
    bomb(path)
    assert path.stat().st_size < 200_000
    net = nn.Linear(1, 1)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"bomb\.npz"):
            load(net, path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_compressed_files_of_other_dtypes_and_orders_are_read(tmp_path):
    """NumPy's own compressed files, big-endian or by columns, are as good."""
    net, path = Net(), tmp_path / "w.npz"
    state = {k: v.astype(v.dtype.newbyteorder(), order="F") for k, v in net.state_dict().items()}
    np.savez_compressed(path, **state)
    other = Net(1)
    load(other, path)
    same(net, other)


def test_arguments_in_another_order(tmp_path):
    net = Net()
    with pytest.raises(TypeError, match=r"io\.save\(net, path\)"):
        save(str(tmp_path / "w"), net)
    with pytest.raises(TypeError, match="must be a module, not"):
        save(net.state_dict(), tmp_path / "w")
    with pytest.raises(TypeError, match=r"io\.load\(net, path\)"):
        load(tmp_path / "w", net)


@posix
def test_the_file_is_on_the_disk_before_it_has_the_name_and_then_the_name_too(
    tmp_path, monkeypatch
):
    """So nothing is lost either when the power fails."""
    calls, replace, fsync = [], os.replace, os.fsync

    def synced(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("folder" if folder else os.fstat(descriptor).st_size)
        fsync(descriptor)

    def replaced(source, target):
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    save(Net(), tmp_path / "w.npz")
    assert calls == [(tmp_path / "w.npz").stat().st_size, "replace", "folder"]


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    path = tmp_path / "w.npz"
    for members, message in (
        ([("archive/data.pkl", b"pickled")], r"it holds a pickle, which can execute .*save_file"),
        ([("weight.txt", b"text")], "'weight.txt', which is no array"),
        ([("weight.npy", b"\x93NUMPY\x07\x00")], r"'weight' is of version \(7, 0\)"),
    ):
        _zip(path, members)
        with pytest.raises(ValueError, match=message):
            load(nn.Linear(1, 1), path)
    path.write_bytes(b"\x80\x02K\x01.")
    with pytest.raises(ValueError, match="it is a pickle, which can execute anything"):
        load(nn.Linear(1, 1), path)
    assert reason(MemoryError()) == "MemoryError"
    assert reason(ValueError("a\n  b")) == "a b"
    assert reason(ValueError(1000 * "x")) == 300 * "x" + "..."
