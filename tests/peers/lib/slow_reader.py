"""Asks for / over HTTP/1.1 with a receive buffer as small as the kernel allows, reads a piece at a time with a pause after
each, and prints what came. node cannot set the size of that buffer."""
import socket
import sys
import time

port, piece, pause_ms = (int(argument) for argument in sys.argv[1:])
reader = socket.socket()
reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
reader.connect(("127.0.0.1", port))
reader.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
while data := reader.recv(piece):
    sys.stdout.buffer.write(data)
    time.sleep(pause_ms / 1000)
