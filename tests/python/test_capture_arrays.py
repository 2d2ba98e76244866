"""What a checkpoint keeps of arrays and tensors: bytes, views, gradients, random states."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from capturekit import HERE, digest_of, in_place, opaque, rebuilt, world_of
from hypothesis import given, settings
from hypothesis import strategies as st

from flor.capture.anchors import Anchors
from flor.capture.state import World
from flor.errors import CaptureError

# -- anchors ---------------------------------------------------------------------------------------


class Kept(np.ndarray):
    """Arrays of a class in Python are freed in another way."""


@pytest.mark.parametrize("kind", [np.ndarray, Kept])
def test_an_array_is_known_until_it_dies_and_its_address_is_not(kind):
    array = np.zeros(3).view(kind) if kind is Kept else np.zeros(3)
    anchors = Anchors([array])
    assert anchors.number(array) == 0 and anchors.get(0) is array
    address = id(array)
    del array
    assert anchors.get(0) is None
    later = [np.zeros(3).view(kind) for _ in range(1000)]
    assert all(anchors.number(each) is None for each in later)
    again = [each for each in later if id(each) == address]
    assert Anchors(again)._refs.keys() == set(range(len(again)))
    assert anchors.get(0) is None


def test_an_array_that_is_an_anchor_can_be_resized():
    array = np.arange(3.0)
    world = world_of(array=array)
    array.resize(5, refcheck=False)  # NumPy refuses where there is a weak reference
    assert in_place(world, lambda: array.fill(7)).opaque == []
    assert array.tolist() == [0, 1, 2, 0, 0]


def test_what_the_program_drops_is_not_kept_alive_by_a_walk():
    holder = {"big": np.zeros(10)}
    world = World(HERE, holder, whole=False)
    anchors = Anchors([holder["big"]])
    for walk in (world.enter, world.walk):
        walk(None)
    world.release()
    holder.clear()
    assert anchors.get(0) is None


# -- NumPy -----------------------------------------------------------------------------------------

ARRAYS = {
    "float": np.arange(6.0),
    "zero": np.array(3),
    "empty": np.empty((0, 3)),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "reversed": np.arange(6)[::-1],
    "strided": np.arange(12).reshape(3, 4)[::2, ::3],
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "half": np.arange(3, dtype=np.float16),
    "text": np.array(["a", "bcd"]),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "struct": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "objects": np.array([1, "x", None], dtype=object),
    "read-only": np.frombuffer(b"abcdefgh", dtype=np.uint8),
    "expanded": np.broadcast_to(np.arange(3), (2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_bit_for_bit(name):
    live = ARRAYS[name].copy(order="K") if name not in ("read-only", "expanded") else ARRAYS[name]
    if name in ("reversed", "strided"):
        live = ARRAYS[name]
    kept = live.copy()
    again = rebuilt(a=[live])["a"][0]
    assert again.dtype == live.dtype and again.strides == live.strides
    assert again.flags.writeable == live.flags.writeable
    np.testing.assert_array_equal(again, kept)
    world = world_of(a=[live])

    def disturb() -> None:
        if live.flags.writeable and live.size:
            live[...] = live.ravel()[-1]

    in_place(world, disturb)
    np.testing.assert_array_equal(live, kept)


def test_views_share_their_memory_afterwards():
    base = np.arange(12.0).reshape(3, 4)
    views = [base[1], base.T, base.ravel()[2:5]]
    world = world_of(base=base, views=views)
    in_place(world, lambda: base.fill(-1))
    base[1, 0] = 99
    assert views[0][0] == views[1][0, 1] == views[2][2] == 99
    state = rebuilt(base=base, views=views)
    state["base"][1, 0] = 7
    assert state["views"][0][0] == state["views"][1][0, 1] == state["views"][2][2] == 7


def test_a_tensor_and_its_array_share_memory():
    tensor = torch.arange(6.0)
    array = tensor.numpy()[2:]
    other = np.ones(4, np.float32)
    back = torch.from_numpy(other)
    world = world_of(tensor=tensor, array=array, pair=[back, other])
    in_place(world, lambda: (tensor.zero_(), other.fill(3)))
    assert tensor.tolist() == [0, 1, 2, 3, 4, 5] and array.tolist() == [2, 3, 4, 5]
    tensor[3] = 42
    assert array[1] == 42 and back.tolist() == [1, 1, 1, 1]
    other[0] = 5
    assert back[0] == 5
    state = rebuilt(tensor=tensor, array=array)
    state["tensor"][3] = 8
    assert state["array"][1] == 8


def test_an_array_that_changed_its_shape_in_place_is_refused():
    array = np.arange(6)
    world = world_of(a=array)
    with pytest.raises(CaptureError, match="shape"):
        in_place(world, lambda: setattr(array, "shape", (2, 3)))


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_numpy_generators_resume(make):
    rng = make(5)
    world = world_of(rng=[rng])
    rng.normal(size=3)
    expected: list[float] = []
    in_place(world, lambda: expected.extend(rng.normal(size=3)))
    assert rng.normal(size=3).tolist() == expected
    again = rebuilt(rng=[rng])["rng"][0]
    assert again.normal() == rng.normal()


def test_the_children_that_a_generator_spawned_are_counted():
    live, twin = np.random.default_rng(5), np.random.default_rng(5)
    live.spawn(2)
    graph = world_of(rng=[live]).walk(None)
    again = rebuilt(rng=[live])["rng"][0]
    twin.spawn(2)
    assert again.spawn(1)[0].random() == twin.spawn(1)[0].random()
    assert not graph.opaque


# -- torch -----------------------------------------------------------------------------------------


def tensors() -> dict[str, torch.Tensor]:
    return {
        "bf16": torch.arange(4).bfloat16(),
        "half": torch.ones(3, dtype=torch.half),
        "bool": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j, 3j]),
        "conj": torch.tensor([1 + 2j]).conj(),
        "neg": torch.tensor([1 + 2j]).conj().imag,
        "zero-d": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "transposed": torch.arange(6).view(2, 3).t(),
        "strided": torch.arange(10)[1::3],
        "expanded": torch.tensor([1.0]).expand(3),
        "fp8": torch.ones(3).to(torch.float8_e4m3fn),
        "buffer": torch.nn.Buffer(torch.ones(2)),
        "parameter": torch.nn.Parameter(torch.ones(2), requires_grad=False),
    }


@pytest.mark.parametrize("name", tensors())
def test_a_tensor_comes_back_bit_for_bit(name):
    live, kept = tensors()[name], tensors()[name]
    again = rebuilt(t=[live])["t"][0]
    assert type(again) is type(live) and again.dtype == live.dtype
    assert again.stride() == live.stride() and again.is_conj() == live.is_conj()
    assert again.is_neg() == live.is_neg()
    assert torch.equal(again.to(torch.complex64), kept.to(torch.complex64))
    world = world_of(t=[live])
    in_place(world, lambda: live.untyped_storage().fill_(1))
    assert torch.equal(live.to(torch.complex64), kept.to(torch.complex64))


def test_gradients_none_and_zero_are_different_and_flags_return():
    one, two = (torch.ones(2, requires_grad=True) for _ in range(2))
    two.grad = torch.zeros(2)
    held = two.grad
    world = world_of(t=[one, two])

    def disturb() -> None:
        one.grad = torch.ones(2)
        two.grad = None
        one.requires_grad_(False)

    in_place(world, disturb)
    assert one.grad is None and two.grad is held and one.requires_grad
    again = rebuilt(t=[one, two])["t"]
    assert again[0].grad is None and again[1].grad.tolist() == [0, 0]
    assert all(tensor.requires_grad and tensor.is_leaf for tensor in again)


def test_param_groups_and_averages_stay_the_aliases_that_they_are():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    average, best = copy.deepcopy(net), net.state_dict()  # best aliases live tensors: a bug, kept
    groups = list(optimizer.param_groups)
    world = world_of(net=net, optimizer=optimizer, average=average, best=best, groups=groups)

    def train() -> list[float]:
        optimizer.zero_grad()
        loss = net(torch.randn(8, 3)).square().sum() + net[0].weight.sum()
        loss.backward()
        optimizer.step()
        groups[0]["lr"] *= 0.5
        for ours, theirs in zip(average.parameters(), net.parameters(), strict=True):
            ours.data.lerp_(theirs.data, 0.1)
        return [loss.item(), *(p.sum().item() for p in [*net.parameters(), *average.parameters()])]

    train()
    expected: list[list[float]] = []
    in_place(world, lambda: expected.extend([train(), train()]))
    assert [train(), train()] == expected
    assert groups[0] is optimizer.param_groups[0]
    assert best["0.weight"].data_ptr() == net[0].weight.data_ptr()


def test_a_tensor_whose_graph_was_lost_says_so_on_backward():
    weight = torch.ones(2, requires_grad=True)
    state = {"loss": None}
    world = world_of(weight=weight, state=state)
    state["loss"] = (weight * 3).sum()
    in_place(world, state.clear)
    loss = state["loss"]
    assert loss.item() == 6 and loss.requires_grad and not loss.is_leaf
    with pytest.raises(CaptureError, match="without its autograd graph"):
        (loss * 2 + weight.sum()).backward()


def test_the_generator_of_torch_and_an_own_one_resume():
    own = torch.Generator().manual_seed(3)
    world = world_of(own=[own])
    torch.randn(2, generator=own)
    expected: list[float] = []

    def draw() -> list[float]:
        return [*torch.randn(2, generator=own).tolist(), *torch.randn(2).tolist()]

    in_place(world, lambda: expected.extend(draw()))
    assert draw() == expected


def test_sizes_and_structured_results():
    state = [torch.Size([2, 3]), torch.ones(2, 2).max(0), torch.float32, torch.device("cpu")]
    again = rebuilt(state=state)["state"]
    assert type(again[0]) is torch.Size and again[0] == state[0]
    assert again[1].values.tolist() == [1, 1]
    assert again[2:] == state[2:]


def test_tensors_that_are_not_dense_memory_are_opaque():
    assert opaque(t=[torch.eye(2).to_sparse()])
    assert opaque(t=[torch.empty(2, device="meta")])


# -- fingerprints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: np.zeros(60), lambda: torch.zeros(60)])
def test_one_changed_bit_changes_the_fingerprint(make):
    before = digest_of(a=[make()])
    assert digest_of(a=[make()]) == before
    for place in range(60):
        changed = make()
        changed[place] = 5e-324 if isinstance(changed, np.ndarray) else 1e-45
        assert digest_of(a=[changed]) != before


# -- any structure ---------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)


@st.composite
def structures(draw):
    """A list of mutable objects that refer to each other at random: cycles and aliases included."""
    kinds = draw(st.lists(st.sampled_from(["list", "dict", "array", "tensor"]), min_size=1))
    made = []
    for kind in kinds:
        if kind == "list":
            made.append([])
        elif kind == "dict":
            made.append({})
        elif kind == "array":
            made.append(np.array(draw(st.lists(st.integers(0, 9), max_size=4)), dtype=np.int64))
        else:
            made.append(torch.tensor(draw(st.lists(st.floats(width=32), max_size=4))))
    picks = st.one_of(SCALARS, st.sampled_from(range(len(made))).map(lambda i: made[i]))
    for obj in made:
        if isinstance(obj, list):
            obj.extend(draw(st.lists(st.one_of(picks, st.tuples(picks, picks)), max_size=4)))
        elif isinstance(obj, dict):
            obj.update(draw(st.dictionaries(st.text(max_size=3), picks, max_size=4)))
    return made


def outline(root):
    """The structure as text: content, and who is who."""
    seen: dict[int, int] = {}

    def text(obj):
        if isinstance(obj, tuple):
            return ("tuple", *map(text, obj))
        if not isinstance(obj, (list, dict, np.ndarray, torch.Tensor)):
            return (type(obj).__name__, repr(obj))
        if id(obj) in seen:
            return ("again", seen[id(obj)])
        seen[id(obj)] = len(seen)
        if isinstance(obj, list):
            return ("list", *map(text, obj))
        if isinstance(obj, dict):
            return ("dict", *((key, text(item)) for key, item in obj.items()))
        data = obj if isinstance(obj, np.ndarray) else obj.numpy()
        return (type(obj).__name__, str(data.dtype), data.tobytes())

    return text(root)


@settings(max_examples=150, deadline=None)
@given(structures())
def test_any_structure_survives_with_its_identities(made):
    expected = outline(made)
    assert outline(rebuilt(made=made)["made"]) == expected
    world: World = world_of(made=made)
    members = list(made)

    def disturb() -> None:
        for obj in members:
            if isinstance(obj, (list, dict)):
                obj.clear()
            elif len(obj):
                obj[...] = obj[0] + 1
        made[:] = [made]

    in_place(world, disturb)
    assert outline(made) == expected
    assert all(a is b for a, b in zip(made, members, strict=False))
