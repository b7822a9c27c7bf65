"""The two implementations look the same from the outside: names, signatures and docstrings."""

from __future__ import annotations

import inspect

import pytest

from wsframe import Role

NAMES = {
    "masking": ["apply_mask", "apply_mask_inplace", "new_masking_key"],
    "utf8": ["Utf8Validator"],
    "message": ["Message"],
    "framing": ["Frame", "FrameParser", "serialize_frame"],
    "messenger": ["Messenger"],
    "stream": ["CallbackStream", "Stream"],
    "queue": ["QueueStream", "Waiter"],
}
each_name = pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NAMES.items() for name in names]
)


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


def without_annotations(signature):
    """Keep what a caller meets: C has no place for the annotations of a class's arguments."""
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return inspect.Signature(parameters)


@pytest.mark.parametrize("module", NAMES)
def test_modules_have_the_same_names(twins, module):
    assert getattr(twins.c, module).__all__ == getattr(twins.py, module).__all__ == NAMES[module]


@each_name
def test_docstrings_are_the_same(twins, module, name):
    compiled, pure = (getattr(getattr(twin, module), name) for twin in (twins.c, twins.py))
    assert inspect.getdoc(compiled) == inspect.getdoc(pure)
    assert inspect.getdoc(compiled)
    if inspect.isclass(pure):
        for attribute in public(pure):
            if callable(getattr(pure, attribute)):
                assert inspect.getdoc(getattr(compiled, attribute)) == inspect.getdoc(getattr(pure, attribute))


@each_name
def test_signatures_are_the_same(twins, module, name):
    compiled, pure = (getattr(getattr(twin, module), name) for twin in (twins.c, twins.py))
    if not inspect.isclass(pure):
        assert inspect.signature(compiled) == inspect.signature(pure)
        return
    assert inspect.signature(compiled) == without_annotations(inspect.signature(pure))
    for attribute in public(pure):
        if callable(getattr(pure, attribute)):
            assert inspect.signature(getattr(compiled, attribute)) == inspect.signature(getattr(pure, attribute))


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [("utf8", "Utf8Validator", ()), ("framing", "Frame", (1,)), ("framing", "FrameParser", (Role.SERVER,))],
)
def test_objects_have_the_same_attributes(twins, module, name, arguments):
    compiled, pure = (getattr(getattr(twin, module), name)(*arguments) for twin in (twins.c, twins.py))
    assert public(compiled) == public(pure)
    for attribute in public(pure):
        if not callable(getattr(pure, attribute)):
            assert getattr(compiled, attribute) == getattr(pure, attribute)
