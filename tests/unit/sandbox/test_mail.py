"""Real mail: every message, however broken, becomes exactly one activity."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from frame_gainsight.sandbox import Mail, Tenant
from frame_gainsight.sandbox.scenarios.parse_email import read_message, text_of_html

PLAIN = b"""From: "Osei, Dana" <Dana.Osei@northwind.example>
To: Sam Rivers <sam@acme.example>, undisclosed, ops@acme.example
Cc: =?utf-8?q?Bj=C3=B6rn?= <bjorn@northwind.example>
Subject: =?utf-8?b?R3LDvMOfZSDwn46J?=
Date: Mon, 02 Mar 2026 09:00:00 +0100
Message-ID: <2@northwind.example>
References: <1@northwind.example> <1b@northwind.example>
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Gr\xc3\xbc\xc3\x9fe from Dana.
"""

BROKEN = {
    "empty": b"",
    "no headers": b"just a line without any header\n\nand a body\n",
    "headers only": b"From: a@b.example\nSubject: nothing follows\n",
    "unknown charset": b"Subject: x\nContent-Type: text/plain; charset=klingon\n\ncaf\xe9\n",
    "wrong charset": b"Subject: x\nContent-Type: text/plain; charset=utf-8\n\ncaf\xe9\n",
    "bad base64": b"Subject: x\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!not base64\n",
    "bad encoded word": b"Subject: =?utf-8?b?!!!?= =?klingon?q?=ff?=\nFrom: =?x?y?z?= <a@b.example>\n\nbody\n",
    "bad from": b'From: <<>>@@, foo@, "unclosed\nTo: :;\n\nbody\n',
    "bad date": b"Date: the day before yesterday\nSubject: x\n\nbody\n",
    "no boundary": b"Subject: x\nContent-Type: multipart/mixed\n\n--x\n\nbody\n",
    "unclosed multipart": b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nbody",
    "raw bytes in headers": b"Subject: caf\xe9 \xff\xfe\nFrom: caf\xe9 <a@b.example>\n\nbody\n",
    "control characters": b"Subject: a\x00b\x07c\n\nbo\x00dy\n",
    "bad content type": b"Content-Type: ;;;===\nContent-Disposition: =;\n\nbody\n",
    "attachment only": b"Content-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\n\n%PDF\n",
}


def write(folder: Path, messages: dict[str, bytes]) -> Path:
    for name, content in messages.items():
        (folder / f"{name}.eml").write_bytes(content)
    return folder


def told(path: Path, **more: Any) -> dict[str, Any]:
    return Tenant(size=3, scenario=Mail(path, start="2026-03-02T08:00:00Z", **more)).truth()


def test_a_well_formed_message() -> None:
    mailed = read_message(PLAIN)
    assert mailed.subject == "Grüße 🎉"
    assert mailed.sender is not None
    assert (mailed.sender.name, mailed.sender.email) == ("Osei, Dana", "Dana.Osei@northwind.example")
    assert [a.email for a in mailed.to] == ["sam@acme.example", "ops@acme.example"]
    assert [(a.name, a.email) for a in mailed.cc] == [("Björn", "bjorn@northwind.example")]
    assert mailed.thread == "1@northwind.example"
    assert mailed.sent_ms == 1_772_438_400_000
    assert (mailed.text, mailed.html) == ("Grüße from Dana.\n", None)


def test_a_message_becomes_an_activity_with_people_and_a_company(tmp_path: Path) -> None:
    (activity,) = told(write(tmp_path, {"one": PLAIN}))["activities"]
    assert activity["subject"] == "Grüße 🎉"
    assert activity["conversation_id"] == "1@northwind.example"
    assert activity["occurred_at_ms"] == 1_772_438_400_000
    assert activity["account_name"] in ("Northwind", "Acme")
    assert {p["email"] for p in activity["participants"]} == {
        "dana.osei@northwind.example",
        "sam@acme.example",
        "ops@acme.example",
        "bjorn@northwind.example",
    }
    assert activity["body_text"] == "Grüße from Dana.\n"
    assert "Grüße" in activity["body_html"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_is_an_activity_all_the_same(tmp_path: Path, name: str) -> None:
    truth = told(write(tmp_path, {name: BROKEN[name]}))
    (activity,) = truth["activities"]
    orjson.dumps(truth)  # whatever was in it can be served
    if b"body" in BROKEN[name] and name != "no headers":
        assert "body" in activity["body_text"]
    if b"caf" in BROKEN[name]:
        assert "caf" in (activity["subject"] or "") + (activity["body_text"] or "")


def test_html_alone_leaves_the_plain_text_empty(tmp_path: Path) -> None:
    html = b"Content-Type: text/html; charset=utf-8\n\n<style>x{}</style><p>Hi&nbsp;<b>you</b></p><p>Bye</p>"
    tenant = Tenant(size=3, scenario=Mail(write(tmp_path, {"h": html}), start="2026-03-02T08:00:00Z"))
    (activity,) = tenant.timeline.current.values()
    assert activity.plain is False
    assert activity.body.text == "Hi you\nBye"
    assert text_of_html("a<br>b &amp; c") == "a\nb & c"


def test_an_mbox_and_a_single_file(tmp_path: Path) -> None:
    mbox = tmp_path / "inbox"
    mbox.write_bytes(b"".join(b"From x Mon Mar  2 09:00:00 2026\n" + PLAIN + b"\n" for _ in range(3)))
    assert len(told(mbox)["activities"]) == 3
    one = write(tmp_path, {"one": PLAIN}) / "one.eml"
    assert len(told(one)["activities"]) == 1
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Mail(tmp_path / "nowhere")


EMAILS = next((p / "shared" / "emails" for p in Path(__file__).parents if (p / "shared" / "emails").is_dir()), None)


@pytest.mark.skipif(EMAILS is None, reason="the folder of real messages is not here")
def test_every_message_of_a_real_folder() -> None:
    assert EMAILS is not None
    truth = told(EMAILS)
    assert len(truth["activities"]) == len(list(EMAILS.glob("*.eml")))
    orjson.dumps(truth)
