"""Chat templates from strangers: what tries to escape, never ends or explodes is stopped, and the caller stays well."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from intermodal.errors import ChatTemplateError
from intermodal.processing import chat_pool, chat_worker
from intermodal.processing.chat import MAX_TEMPLATE, render_chat

CHAT = [{"role": "user", "content": "Hello"}]
FINE = "{{ messages[0].content }}"

ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ (''|attr)('__class__') if false else ''|attr('_' ~ '_class_' ~ '_') }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['sys'].modules['os'].system('id') }}",
    "{{ range.__init__ }}",
    "{{ dict.mro() }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ ('{0.__class__}'|attr('format'))(1) }}",  # CVE-2025-27516
    "{% set f = '{0.__class__.__base__}'.format %}{{ f(1) }}",  # CVE-2024-56326
    "{{ ['{0.__class__}'.format]|map('call', 1)|list }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}",
    "{% for c in [].__class__.__base__.__subclasses__() %}{% if c.__name__ == 'catch_warnings' %}"
    "{{ c()._module.__builtins__['__import__']('os').system('id') }}{% endif %}{% endfor %}",  # CVE-2024-34359
    "{{ namespace(__init__=1) }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'a': 1}) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{% extends 'x' %}",
]

ENDLESS = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a list in itself": (
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}"
    ),
    "comparing": (
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}"
        "{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}"
    ),
}

EXPLOSIVE = {
    "repeating": "{{ 'a' * 10**10 }}",
    "repeating a list": "{{ ([0] * 10**10) | length }}",
    "powers": "{{ 9 ** (9 ** 9) }}",
    "multiplying": "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "doubling": "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "centring": "{{ 'a' | center(10**10) }}",
    "justifying": "{{ 'a'.ljust(10**10) }}",
    "formatting": "{{ '{:10000000000}'.format(1) }}",
    "formatting by %": "{{ '%10000000000d' % 1 }}",
    "indenting": "{{ messages | tojson(indent=10**10) }}",
    "replacing": "{% set s = 'a' * 10**6 %}{{ s.replace('a', s) | length }}",
    "batches": "{{ [1] | batch(10**12, 'x') | list }}",
    "a long range": "{{ range(10**9) | list }}",
    "output": "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "parentheses": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
}

MALFORMED = {
    "{% if %}": "line 1",
    "{{ 1 / 0 }}": "ZeroDivisionError",
    "{{ nothing.at.all }}": "'nothing' is undefined",
    "{{ raise_exception('only user and assistant') }}": "only user and assistant",
    "{{ messages[0].content + 1 }}": "TypeError",
    "{% endfor %}": "endfor",
    "{{ 'a' | no_such_filter }}": "no_such_filter",
}


@pytest.mark.parametrize("template", ESCAPES)
def test_escapes(template):
    with pytest.raises(ChatTemplateError):
        render_chat(template, CHAT)


@pytest.mark.parametrize("name", ENDLESS)
def test_what_does_not_end(name, monkeypatch):
    monkeypatch.setattr(chat_pool, "RENDER_SECONDS", 1.0)
    render_chat(FINE, CHAT)  # so that a process is there, and its start is not measured
    start = time.monotonic()
    with pytest.raises(ChatTemplateError, match=r"does not end within 1 seconds|memory"):
        render_chat(ENDLESS[name], CHAT)
    assert time.monotonic() - start < 5
    assert render_chat(FINE, CHAT) == "Hello"


@pytest.mark.parametrize("name", EXPLOSIVE)
def test_what_explodes(name):
    render_chat(FINE, CHAT)
    start = time.monotonic()
    with pytest.raises(ChatTemplateError):
        render_chat(EXPLOSIVE[name], CHAT)
    assert time.monotonic() - start < 2 * chat_pool.RENDER_SECONDS
    assert render_chat(FINE, CHAT) == "Hello"


@pytest.mark.parametrize("template", MALFORMED)
def test_what_is_malformed(template):
    with pytest.raises(ChatTemplateError, match=MALFORMED[template]):
        render_chat(template, CHAT)


def test_a_template_of_absurd_length():
    with pytest.raises(ChatTemplateError, match="characters"):
        render_chat(" " * (MAX_TEMPLATE + 1), CHAT)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' children's memory and limits it")
def test_memory_of_the_renderer_is_bounded():
    import resource

    worker = chat_pool.Worker()
    try:
        limits = resource.prlimit(worker.process.pid, resource.RLIMIT_AS)
        assert limits == (chat_worker.MAX_MEMORY, chat_worker.MAX_MEMORY)
        _, answer = worker.ask(json.dumps([EXPLOSIVE["doubling by ~"], {}]).encode())
        assert "memory" in answer
    finally:
        worker.close()


def test_threads_render_at_the_same_time(monkeypatch):
    monkeypatch.setattr(chat_pool, "RENDER_SECONDS", 1.0)
    results: dict[int, str] = {}

    def work(index: int) -> None:
        try:
            endless = ENDLESS["loops in loops"]
            results[index] = render_chat(endless if index == 0 else FINE, [{"role": "user", "content": str(index)}])
        except ChatTemplateError:
            results[index] = "stopped"

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: "stopped", **{index: str(index) for index in range(1, 6)}}


def test_a_renderer_that_died_is_replaced():
    assert render_chat(FINE, CHAT) == "Hello"
    chat_pool._pool.idle[-1].process.kill()
    chat_pool._pool.idle[-1].process.wait()
    assert render_chat(FINE, CHAT) == "Hello"


def test_the_renderer_sees_no_secrets_of_the_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    worker = chat_pool.Worker()
    try:
        if sys.platform == "linux":
            with open(f"/proc/{worker.process.pid}/environ", "rb") as file:
                assert b"hf_secret" not in file.read()
    finally:
        worker.close()


def test_the_renderer_ends_with_its_caller():
    program = (
        "from intermodal.processing import chat_pool\n"
        "chat_pool.render('x', {})\n"
        "print(chat_pool._pool.idle[0].process.pid, flush=True)\n"
        "import os; os._exit(1)\n"
    )
    pid = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except OSError:
            return
        if sys.platform == "linux" and _is_zombie(pid):
            return
        time.sleep(0.1)
    pytest.fail("the renderer outlives its caller")


def _is_zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "Z"


def test_surrogates_and_large_messages_pass():
    text = "é😀\ud800" * 100_000
    assert render_chat(FINE, [{"role": "user", "content": text}]) == text
