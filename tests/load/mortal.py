"""Client processes that die of SIGKILL in the middle of a request: a process that was forked before there was anything to
inherit makes one for each request that it is told of, and says how each ended."""
import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
import time


def mortal(order):
    """In a process of its own: never returns. Exit status 0: the whole answer came before the time was up."""
    end = time.monotonic() + order["seconds"]
    data = order["data"].encode("latin-1")[:order["bytes"]]
    with socket.create_connection(("127.0.0.1", order["port"]), timeout=60) as s:
        s.sendall(data)
        while (left := end - time.monotonic()) > 0:
            s.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if not s.recv(4096):
                    os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)


def forking(orders, reports):
    living, text = {}, b""
    while True:
        if select.select([orders], [], [], 0.02)[0]:
            part = os.read(orders, 1 << 16)
            if not part:
                os._exit(0)
            *lines, text = (text + part).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    with contextlib.suppress(BaseException):
                        mortal(order)
                    os._exit(1)
                living[pid] = order["id"]
        while living:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            how = "killed" if os.WIFSIGNALED(status) else "whole" if status == 0 else "failed"
            os.write(reports, f"{living.pop(pid)} {how}\n".encode())


class Mortals:
    """Made before any thread, socket or event loop is."""
    def __init__(self):
        orders, self.orders = os.pipe()
        self.reports, reports = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.orders)
            os.close(self.reports)
            try:
                forking(orders, reports)
            finally:
                sys.stderr.flush()
                os._exit(1)
        os.close(orders)
        os.close(reports)
        self.waiting, self.text = {}, b""

    def listen(self):
        """In the event loop's thread."""
        asyncio.get_running_loop().add_reader(self.reports, self.read)

    def read(self):
        *lines, self.text = (self.text + os.read(self.reports, 1 << 16)).split(b"\n")
        for line in lines:
            id, how = line.decode().split()
            self.waiting.pop(id).set_result(how)

    async def ask(self, id, port, data, upto, seconds):
        """Sends the first `upto` bytes, takes what comes, dies after so many seconds: "killed", "whole" or "failed"."""
        self.waiting[id] = asyncio.get_running_loop().create_future()
        order = {"id": id, "port": port, "data": data.decode("latin-1"), "bytes": upto, "seconds": seconds}
        os.write(self.orders, json.dumps(order).encode() + b"\n")
        return await self.waiting[id]

    def end(self):
        os.close(self.orders)
        os.waitpid(self.pid, 0)
