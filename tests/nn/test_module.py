import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import assert_close, host
from modules import NAMES, Model

from xprnn import nn


def test_parameters_are_found_by_name():
    model = Model()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert model.parameters() == [parameter for _, parameter in model.named_parameters()]
    assert list(model.state_dict()) == NAMES
    assert {name for name, _ in model.named_modules()} >= {
        "",
        "embedding",
        "stack.0",
        "stack.1",
        "lstm",
        "lstm.dropout",
    }


def test_a_part_that_is_replaced_on_the_way_is_walked_in_its_new_form():
    model, seen = Model(), []
    for name, module in model.named_modules():
        seen.append(name)
        if name == "":
            module.embedding = nn.Sequential(nn.Dropout(0.5))
    assert seen[:3] == ["", "embedding", "embedding.0"]


def test_to_look_for_parts_leaves_no_circles():
    """In which a large model would stay in memory until Python looks for such."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4)))
    gone = weakref.ref(model.parameters()[0])
    gc.disable()
    try:
        assert [len(model.parameters()), len([*model.named_modules()])] == [4, 4]
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_a_shared_parameter_counts_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]


def test_generators_are_found_by_name():
    model = Model()
    assert set(model.generators()) == {"stack.1.rng", "lstm.rng", "lstm.dropout.rng"}
    assert len({id(generator) for generator in model.generators().values()}) == 1


def test_train_and_eval_reach_every_part():
    model = Model()
    assert model.training
    assert model.eval() is model
    assert not any(module.training for _, module in model.named_modules())
    assert all(module.training for _, module in model.train().named_modules())


def test_zero_grad():
    model = Model()
    model(np.array([[0, 1]])).sum().backward()
    assert model.scale.grad is not None
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_to_moves_parameters_and_gradients(home):
    model = Model().eval()
    x = np.array([[0, 1, 4], [2, 2, 3]])
    expected = model(x)
    expected.sum().backward()
    gradients = [host(parameter.grad) for parameter in model.parameters()]
    assert model.to(home) is model
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert type(parameter.data) is type(parameter.grad.data) is type(home.zeros((1,), "float32"))
        assert_close(parameter.grad, gradient, 0.0)
    assert_close(model(home.asarray(x)), expected, 1e-6)


def test_state_dict_is_a_copy(home):
    layer = nn.Linear(2, 3, rng=0).to(home)
    state = layer.state_dict()
    before = host(layer.weight).copy()
    state["weight"][...] = 0.0
    assert_close(layer.weight, before, 0.0)


def test_state_dict_goes_round(home):
    first, second = Model(rng=0).to(home), Model(rng=1)
    second.load_state_dict(first.state_dict())
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert isinstance(other.data, np.ndarray)
        assert_close(other, host(one), 0.0)


def test_repr_shows_the_parts():
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.25))).splitlines() == [
        "Sequential(",
        "  0: Linear(2, 3, bias=True)",
        "  1: Dropout(0.25)",
        ")",
    ]


def test_a_module_without_forward():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no forward"):
        Empty()(1)


# --- modes ----------------------------------------------------------------------------------------------------------


def modes(model):
    return {name for name, part in model.named_modules() if not part.training}


def test_a_block_has_its_mode_and_changes_no_modules():
    model, other = Model(), nn.Dropout()
    with model.mode(training=False):
        assert len(modes(model)) == 6
        assert other.training
        with model.lstm.mode(training=True):
            assert modes(model) == {"", "embedding", "stack.0", "stack.1"}
        assert len(modes(model)) == 6
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(modes, model).result() == set()
        assert modes(copy.deepcopy(model)) == set()
    assert modes(model) == set()
    model.eval()
    with pytest.raises(ZeroDivisionError), model.mode(training=True):
        1 / (len(modes(model)))
    assert len(modes(model)) == 6


def test_a_part_in_evaluation_by_itself_stays_there():
    model = Model()
    model.lstm.eval()
    with model.mode(training=True):
        assert modes(model) == {"lstm", "lstm.dropout"}
    model.eval()
    assert len(modes(model)) == 6
    with model.mode(training=True):
        assert modes(model) == {"lstm", "lstm.dropout"}
    with model.lstm.mode(training=True):
        assert "lstm" not in modes(model)
    model.lstm.dropout.train()
    with model.mode(training=True):
        assert modes(model) == {"lstm"}
    model.lstm.train()
    with model.mode(training=True):
        assert modes(model) == set()
    model.stack[1].training = False
    with model.mode(training=True):
        assert modes(model) == {"stack.1"}
    model.train()
    model.eval()
    with model.mode(training=True):
        assert modes(model) == set()


def test_a_mode_chosen_inside_a_block_counts_there_and_after_it():
    model = Model()
    with model.mode(training=True):
        model.lstm.eval()
        assert modes(model) == {"lstm", "lstm.dropout"}
        with model.mode(training=False):
            assert len(modes(model)) == 6
        assert modes(model) == {"lstm", "lstm.dropout"}
    assert modes(model) == {"lstm", "lstm.dropout"}


def test_blocks_of_generators_end_in_any_order():
    model = Model()

    def inside(training):
        with model.mode(training):
            yield
            yield

    first, second = inside(False), inside(True)
    next(first), next(second)
    first.close()
    assert modes(model) == set()
    second.close()
    assert modes(model) == set()
    first, second = inside(True), inside(False)
    next(first), next(second)
    second.close()
    assert modes(model) == set()
    first.close()
    assert modes(model.eval()) == {name for name, _ in model.named_modules()}


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_modules_can_be_copied_and_pickled(duplicate):
    model = Model().eval()
    model.embedding.train()
    other = duplicate(model)
    assert_close(list(other.state_dict().values()), list(model.state_dict().values()), 0.0)
    assert [part.training for _, part in other.named_modules()] == [part.training for _, part in model.named_modules()]
