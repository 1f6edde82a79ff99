"""The document that the hostile updates of this corpus are aimed at: four clients, every shared type, 1.2 kB.

Client ids are the interesting ones: the smallest, one of one byte, one past 31 bits, one close to the largest.
"""

from __future__ import annotations

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

CLIENTS = (1, 77, 3_000_000_000, 2**53 - 5)


def corpus_document() -> bytes:
    """The document as one update. The same bytes each time."""
    state = b"\x00\x00"
    for client in CLIENTS:
        doc: Doc[object] = Doc(client_id=client)
        doc.apply_update(state)
        _edit(doc, f"client {client} ")
        state = doc.get_update()
    return state


def _edit(doc: Doc[object], words: str) -> None:
    array = doc.get("arr", type=Array)
    array.extend([1, "two", words])
    array.append(Map({"deep": Array([1, 2, 3])}))
    text = doc.get("text", type=Text)
    text.insert(0, words + "héllo 😀 ")
    text.format(0, 6, {"bold": True})
    text.insert_embed(3, {"image": "a"})
    del text[8:11]
    doc.get("map", type=Map).update({"title": words, "tags": ["a", "b"], "blob": b"\x00\x01"})
    xml = doc.get("xml", type=XmlFragment)
    paragraph = xml.children.append(XmlElement("p", {"class": "x"}))
    paragraph.children.append(XmlText(words))
