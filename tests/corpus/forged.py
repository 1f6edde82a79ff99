"""Whole sequences of forged updates that make the CRDT use freed memory, or that put one struct in two parents.

Each update alone passes every other check of the firewall. With freed memory poisoned (glibc.malloc.perturb) the first
sequence ends the process after four updates, the second after five; in plain memory the first hangs now and then. The
third was not seen to kill in this form. Never apply them to a `Doc` in a process that matters.
"""

from __future__ import annotations

from tests.corpus.encode import item, structs, text, update

VALUE = b"\x01\x7e"
_MAP = update(structs(5, 0, [item(7, b"\x01", parent="map", key="m")]))
_LIST = update(structs(5, 0, [item(7, b"\x00", parent="list")]))
_DELETE_PARENT = update(deletes=[(5, [(0, 1)])])

SEQUENCES = {
    "a value of several characters is cut in two": [
        _MAP,
        update(structs(6, 0, [item(4, text("abcdefgh"), parent=(5, 0), key="k")])),
        update(structs(7, 0, [item(8, VALUE, origin=(6, 3))])),
        _DELETE_PARENT,
        update(structs(8, 0, [item(8, VALUE, origin=(6, 0))])),
        update(deletes=[(6, [(0, 2)])]),
    ],
    "a list is joined to a chain of values": [
        _MAP,
        update(structs(6, 0, [item(8, VALUE, parent=(5, 0), key="k")])),
        update(structs(6, 1, [item(4, text("abc"), parent=(5, 0))])),
        update(structs(7, 0, [item(4, text("z"), origin=(6, 3), right_origin=(6, 0))])),
        _DELETE_PARENT,
        update(structs(8, 0, [item(8, VALUE, origin=(6, 0))])),
        update(structs(8, 1, [item(8, VALUE, origin=(8, 0))])),
    ],
    "what is half known names another parent": [
        _LIST,
        update(structs(6, 0, [item(4, text("ab"), parent="t")])),
        update(structs(6, 0, [item(4, text("abcdefgh"), parent=(5, 0))])),
        _DELETE_PARENT,
        update(structs(7, 0, [item(4, text("x"), origin=(6, 4))])),
    ],
}
"""Name → updates in their order."""
