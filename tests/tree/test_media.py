"""Prompts with images and sound: what goes to the endpoint, what is scaled down, what is refused."""

from __future__ import annotations

import base64
import io
import json
import wave
from pathlib import Path
from typing import Any

import pytest

from tests.tree.conftest import FINISH, Stage, cell
from tests.tree.test_typed import PNG

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")


def recording(seconds: float = 0.1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * int(8000 * seconds)))
    return out.getvalue()


def user_parts(request: Any) -> list[dict[str, Any]]:
    content = next(message["content"] for message in request.messages if message["role"] == "user")
    assert isinstance(content, list)
    return content


async def test_sound_goes_to_the_endpoint_and_not_into_the_trace(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(recording())
    seen: list[Any] = []

    def sub(request: Any) -> str:
        seen.extend(user_parts(request)[1:])
        return "hello"

    root = cell("answer['content'] = llm_query('what is said?', audio=[context])\n" + FINISH)
    result = await stage.run({"root": root, "sub": sub}, inputs=[str(path)])
    assert result.answer == "hello"
    (part,) = seen
    assert part["type"] == "input_audio"
    assert part["input_audio"]["format"] == "wav"
    assert base64.b64decode(part["input_audio"]["data"]) == path.read_bytes()
    (call,) = stage.of("call.completed")
    assert call["prompt"]["audio"] == [{"format": "wav", "characters": len(part["input_audio"]["data"])}]
    assert part["input_audio"]["data"] not in json.dumps(stage.events)


async def test_files_of_the_input_are_what_is_looked_at(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a.wav").write_bytes(recording())
    (folder / "a.png").write_bytes(PNG)
    seen: list[str] = []

    def sub(request: Any) -> str:
        seen.extend(part["type"] for part in user_parts(request)[1:])
        return "seen"

    root = cell(
        "one = llm_query('?', images=[context['a.png']])\ntwo = llm_query('?', audio=context['media']['a.wav'])\n"
        "answer['content'] = f'{one} {two}'\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": sub}, inputs=[str(folder / "a.png"), str(folder)])
    assert (result.answer, seen) == ("seen seen", ["image_url", "input_audio"])
    assert "format: PNG" in stage.prompts("root")[0]


async def test_images_and_sound_together_and_apart(stage: Stage) -> None:
    def sub(request: Any) -> str:
        return " ".join(part["type"] for part in user_parts(request))

    root = cell(
        f"wav = {recording()!r}\nmp3 = b'ID3' + bytes(20)\npng = b'\\x89PNG\\r\\n' + bytes(20)\n"
        "r = llm_batch(['a', {'prompt': 'b', 'audio': [mp3]}], images=[[png], [png, png]], audio=wav)\n"
        "answer['content'] = ' | '.join(r)\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": sub})
    assert result.answer == "text image_url input_audio | text image_url image_url input_audio input_audio"


async def test_what_is_no_recording_is_told_before_anything_is_sent(stage: Stage) -> None:
    root = cell(
        "for bad in (b'fLaC' + bytes(20), 3, '/nowhere.wav', b'ID3' + bytes(11 << 20)):\n"
        "    try: llm_query('?', audio=[bad])\n"
        "    except Exception as e: print(type(e).__name__)\n"
        "answer['content'] = 'x'\n" + FINISH
    )
    await stage.run({"root": root, "sub": "x"})
    lines = stage.of("cell.completed")[0]["output"].splitlines()
    assert lines == ["ValueError", "TypeError", "FileNotFoundError", "ValueError"]
    assert stage.prompts("sub") == []


async def test_hostile_recordings_are_refused_by_the_host(stage: Stage) -> None:
    good = {"format": "wav", "data": "AAAA"}
    items = [
        {"prompt": "p", "audio": [{"format": "exe", "data": "AAAA"}]},
        {"prompt": "p", "audio": [{"format": ["wav"], "data": "AAAA"}]},
        {"prompt": "p", "audio": [{"format": "wav", "data": "no base64!"}]},
        {"prompt": "p", "audio": [{"format": "wav", "data": ""}]},
        {"prompt": "p", "audio": [good] * 51},
        {"prompt": "p", "audio": "x"},
    ]
    root = cell(
        "from guest.batches import OpenBatch\n"
        f"r = OpenBatch(get_ipython().kernel.guest.bridge, {items!r}, {{}}).wait()\n"
        "answer['content'] = ' '.join(x.kind for x in r)\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"})
    assert result.answer == " ".join(["invalid"] * len(items))


PICTURES = """
import io
from PIL import Image
def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, format=form, **options)
    return out.getvalue()
photo = encoded(Image.effect_noise((3000, 1000), 50).convert("RGB"), "JPEG", quality=95)
turned = Image.Exif()
turned[0x0112] = 6
sideways = encoded(Image.new("RGB", (3000, 1000)), "JPEG", exif=turned)
drawing = encoded(Image.new("RGBA", (4000, 4000), (0, 0, 0, 0)), "PNG")
small = encoded(Image.new("RGB", (10, 20)), "PNG")
bitmap = encoded(Image.new("RGB", (30, 40)), "BMP")
r = llm_batch(["?"] * 5, images=[[photo], [sideways], [drawing], [small], [bitmap]])
answer["content"] = " ".join(r)
try: llm_query("?", images=[photo[:2000]])
except ValueError as e: print("truncated:", e)
"""


async def test_large_images_are_scaled_down(stage: Stage, sandbox: str) -> None:
    from PIL import Image

    def sub(request: Any) -> str:
        mime, data = user_parts(request)[1]["image_url"]["url"].split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            return f"{mime.removeprefix('data:image/')}:{image.width}x{image.height}:{image.mode}"

    result = await stage.run({"root": cell(PICTURES + FINISH), "sub": sub}, sandbox=sandbox)
    photo, sideways, drawing, small, bitmap = result.answer.split()
    assert photo.startswith("jpeg:2048x68")
    assert sideways.startswith("jpeg:68")  # turned upright, since the new file no longer says how to turn it
    assert sideways.endswith("x2048:RGB")
    assert drawing == "png:2048x2048:RGBA"
    assert small == "png:10x20:RGB"
    assert bitmap == "jpeg:30x40:RGB"
    assert "truncated: an image that cannot be made smaller" in stage.of("cell.completed")[0]["output"]
