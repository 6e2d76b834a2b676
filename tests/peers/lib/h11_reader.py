# Reads requests with h11, for comparison: a line of JSON {"bytes": base64} in, a line {"requests": [...], "fault": ...} out.
import base64
import json
import sys

import h11


def read(data):
    connection = h11.Connection(h11.SERVER)
    requests, fault, one = [], None, None
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                break
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                break
            if isinstance(event, h11.Request):
                one = {
                    "method": event.method.decode("latin1"),
                    "target": event.target.decode("latin1"),
                    "fields": [[n.decode("latin1"), v.decode("latin1")] for n, v in event.headers],
                    "body": "",
                    "trailers": [],
                }
            elif isinstance(event, h11.Data):
                one["body"] += bytes(event.data).decode("latin1")
            elif isinstance(event, h11.EndOfMessage):
                one["trailers"] = [[n.decode("latin1"), v.decode("latin1")] for n, v in event.headers]
                requests.append(one)
                # The next request can be read once this one is answered.
                if connection.our_state is h11.SEND_RESPONSE:
                    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                    connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    if connection.their_http_version == b"1.0":
                        fault = "h11 keeps no connection of HTTP/1.0"
                    break
                connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        fault = str(error)
    return {"requests": requests, "fault": fault}


for line in sys.stdin:
    print(json.dumps(read(base64.b64decode(json.loads(line)["bytes"]))), flush=True)
