"""`sampan chat` in a terminal: tmux types and reads the screen, with no locale set."""
import json
import os
import shutil
import subprocess
import time
import uuid

import pytest
from conftest import SAMPAN


class Terminal:
    def __init__(self, command):
        self.name = "sampan-" + uuid.uuid4().hex[:8]
        env = {k: v for k, v in os.environ.items() if k != "LANG" and not k.startswith("LC_")}
        self.tmux("-u", "new-session", "-d", "-s", self.name, "-x", "100", "-y", "40",
                  f"env -u LANG -u LC_ALL -u LC_CTYPE {command}; sleep 60", env=env)

    def tmux(self, *args, env=None):
        return subprocess.run(["tmux", "-L", self.name, *args], env=env, check=True, capture_output=True, text=True).stdout

    def keys(self, *keys):
        self.tmux("send-keys", "-t", self.name, *keys)

    def typed(self, text):
        self.tmux("send-keys", "-t", self.name, "-l", text)

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", self.name, "-S", "-200")

    def wait(self, words, seconds=60, after=""):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            screen = self.screen()
            if words in screen[screen.find(after) if after else 0:]:
                return screen
            time.sleep(0.2)
        raise AssertionError(f"not on the screen: {words!r}\n{self.screen()}")

    def end(self):
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True)


@pytest.fixture
def chat(starter):
    assert shutil.which("tmux"), "tmux is needed: ./check installs it"
    t = Terminal(f"{SAMPAN} chat --model {starter} --temperature 0 --max-tokens 40 --threads 2")
    t.wait(">>>")
    yield t
    t.end()


def prompts(screen):
    return [line for line in screen.splitlines() if line.startswith(">>>")]


def test_chinese_is_typed_deleted_edited_and_sent(chat):
    chat.typed("用一句话介绍黄河河")
    chat.wait("黄河河")
    chat.keys("BSpace", "BSpace", "BSpace")
    chat.typed("长江。")
    chat.keys("Home")
    chat.typed("请")
    screen = chat.wait("请用一句话介绍长江。")
    assert "黄河" not in prompts(screen)[-1]
    chat.keys("Enter")
    chat.wait("长江是", after="请用一句话介绍长江。")
    chat.typed("/stats")
    chat.keys("Enter")
    chat.wait("tokens in")


def test_commands(chat):
    for command, words in (("/help", "forget the conversation"), ("/set temperature 0.5", ""), ("/set", "temperature"),
                           ("/nosuch", "no command /nosuch"), ("/set top-p 7", "from 0 to 1"), ("/system 你是一个诗人。", "starts anew"),
                           ("/system", "你是一个诗人。"), ("/clear", "starts anew")):
        chat.typed(command)
        chat.keys("Enter")
        if words:
            chat.wait(words, seconds=10, after=command)


def test_save_and_load(chat, tmp_path):
    file = tmp_path / "talk.json"
    chat.typed("Say hello.")
    chat.keys("Enter")
    chat.wait(">>>", after="Say hello.")
    chat.typed(f"/save {file}")
    chat.keys("Enter")
    chat.wait("Saved 2 messages")
    chat.typed("/clear")
    chat.keys("Enter")
    chat.typed(f"/load {file}")
    chat.keys("Enter")
    chat.wait("Loaded 2 messages")


def test_ctrl_c_stops_the_answer_not_the_program(chat):
    chat.typed("/set max-tokens 2000")
    chat.keys("Enter")
    chat.typed("Write a long story about a boat on a river.")
    chat.keys("Enter")
    time.sleep(1.5)
    chat.keys("C-c")
    chat.wait("(stopped)", seconds=10)
    chat.typed("/stats")
    chat.keys("Enter")
    chat.wait("tokens in", seconds=10, after="(stopped)")


def test_a_pasted_block_is_one_message(chat, tmp_path):
    block = "Three lines:\n第二行\nand a last one."
    subprocess.run(["tmux", "-L", chat.name, "load-buffer", "-"], input=block, text=True, check=True)
    chat.tmux("paste-buffer", "-p", "-t", chat.name)
    chat.wait("[paste 1: 3 lines]")
    assert chat.screen().count(">>>") == 1
    chat.keys("Enter")
    chat.wait(">>>", after="[paste 1: 3 lines]")
    chat.typed(f"/save {tmp_path}/talk.json")
    chat.keys("Enter")
    chat.wait("Saved 2 messages")
    assert json.loads((tmp_path / "talk.json").read_text())[0]["content"] == block
