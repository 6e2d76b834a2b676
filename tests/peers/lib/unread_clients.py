"""TLS clients of HTTP/2 that open every window, ask for /big and read nothing, with a receive buffer as small as the kernel
allows: node cannot set the size of that buffer. Each line on standard input is one more; "open" is printed when it has
asked, "refused" where it could not. They all leave at the end of the input."""
import socket
import ssl
import struct
import sys


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


port = int(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/big"), (b":authority", b"a")]
words = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack(">HI", 4, 0x7FFFFFFF))
words += frame(8, 0, 0, struct.pack(">I", 0x7FFE0000)) + frame(1, 5, 1, b"".join(literal(*field) for field in fields))
held = []
for _ in sys.stdin:
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(10)
    try:
        plain.connect(("127.0.0.1", port))
        client = context.wrap_socket(plain, server_hostname="localhost")
        client.sendall(words)
        held.append(client)
        print("open", flush=True)
    except OSError:
        print("refused", flush=True)
