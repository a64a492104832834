"""The session's files, and what goes along with a message."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ui.conftest import Pages, Server, is_idle, say

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "pixel.png"
    path.write_bytes(PIXEL)
    return path


def test_what_the_agent_writes_appears(pages: Pages, server: Server) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    page.get_by_label("Files", exact=True).click()
    files = page.get_by_role("complementary", name="Files of this session")
    expect(files).to_contain_text("Nothing here yet.")
    say(page, "tools")
    expect(files.get_by_role("button", name="notes/haiku.md")).to_be_visible()
    files.get_by_role("button", name="notes/haiku.md").click()
    expect(files.get_by_role("heading", name="Sea")).to_be_visible()
    with page.expect_download() as download:
        files.get_by_label("Download notes/haiku.md").click()
    assert Path(download.value.path()).read_text() == "# Sea\n\nWaves arrive and leave\n"


def test_files_are_uploaded_shown_and_deleted(pages: Pages, server: Server, picture: Path, tmp_path: Path) -> None:
    session_id = server.session()
    server.tell(session_id, "hello")
    page = pages.open(server, f"/s/{session_id}")
    page.get_by_label("Files", exact=True).click()
    code = tmp_path / "a program.py"
    code.write_text("def f():\n    return '<b>'\n")
    page.get_by_label("Files to upload").set_input_files([picture, code])
    files = page.get_by_role("complementary", name="Files of this session")
    files.get_by_role("button", name="pixel.png").click()
    shown = files.get_by_role("img", name="pixel.png")
    expect(shown).to_be_visible()
    assert shown.evaluate("image => image.naturalWidth") == 1
    files.get_by_label("All files").click()
    files.get_by_role("button", name="a program.py").click()
    expect(files.locator("pre")).to_contain_text("return '<b>'")
    page.once("dialog", lambda dialog: dialog.accept())
    files.get_by_label("Delete a program.py").click()
    expect(files.get_by_role("button", name="a program.py")).to_have_count(0)
    listed = server.ask("GET", f"/v1/sessions/{session_id}/workspace/")["files"]
    assert [file["path"] for file in listed] == ["pixel.png"]


def test_attachments_by_button(pages: Pages, server: Server, picture: Path) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    page.get_by_label("Files to attach").set_input_files(picture)
    expect(page.get_by_label("Attachments of this message")).to_contain_text("pixel.png")
    say(page, "look at this")
    is_idle(page)
    expect(page.locator(".message-user").get_by_role("img", name="pixel.png")).to_be_visible()
    page.reload()
    expect(page.locator(".message-user").get_by_role("img", name="pixel.png")).to_be_visible()


@pytest.mark.long
@pytest.mark.parametrize("how", ["paste", "drop"])
def test_attachments_by_paste_and_drop(pages: Pages, server: Server, how: str) -> None:
    page = pages.open(server, f"/s/{server.session()}")
    page.get_by_label("Message", exact=True).wait_for()
    page.evaluate(
        """([how, data]) => {
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], 'brought.png', { type: 'image/png' }));
          const event = how === 'paste'
            ? new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true })
            : new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.querySelector('.composer-text').dispatchEvent(event);
        }""",
        [how, base64.b64encode(PIXEL).decode()],
    )
    expect(page.get_by_label("Attachments of this message")).to_contain_text("brought.png")
    page.get_by_label("Remove brought.png").click()
    expect(page.get_by_label("Attachments of this message")).to_have_count(0)


@pytest.mark.long
def test_what_is_too_large_is_said_before_it_is_sent(pages: Pages, server: Server, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(11 * 1024 * 1024))
    page = pages.open(server, f"/s/{server.session()}")
    page.get_by_label("Files to attach").set_input_files(large)
    expect(page.get_by_text("large.bin has 11.0 MB; an attachment may have 10.0 MB")).to_be_visible()
    expect(page.get_by_label("Attachments of this message")).to_have_count(0)
