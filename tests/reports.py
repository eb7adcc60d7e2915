"""What every page of a report must be, whatever stands in it."""

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Elements opened and closed in order, and nothing that runs or is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.pictures = [], set(), []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "img":
            assert attributes["alt"]
            self.pictures.append(attributes["src"])
        else:
            assert not {"src", "href"} & set(attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(path):
    """The text of a page that is whole, alone and inert."""
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert not reader.tags & {"script", "iframe", "object", "link", "svg"}
    assert 'name="viewport"' in text
    assert "default-src 'none'" in text
    for source in reader.pictures:
        kind, content = source.split(",")
        assert kind == "data:image/svg+xml;base64"
        picture = base64.b64decode(content).decode("utf-8")
        assert picture.rstrip().endswith("</svg>")
        assert "<script" not in picture
        ElementTree.fromstring(picture)
    assert reader.pictures or "A picture is missing here: drawing needs matplotlib" in text
    return re.sub(r"\s+", " ", text)
