"""An AWS that always gives the same answers at once, so that only the handlers differ.

``python -m bench.stub`` prints its port. It checks no signature and keeps nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import parse_qs

import jobs

TABLE = "FileTable"
JOB_ID = "0123456789abcdefghijkl"

_JOB = {
    "id": {"S": JOB_ID},
    "file_name": {"S": "a.txt"},
    "input_file_path": {"S": f"data-bucket/input/{JOB_ID}/a.txt"},
    "output_file_path": {"S": f"data-bucket/output/{JOB_ID}/1/a.txt"},
    "status": {"S": jobs.SUCCEEDED},
    "attempts": {"N": "1"},
    "created_at": {"S": "2026-01-01T00:00:00.000Z"},
    "started_at": {"S": "2026-01-01T00:00:20.000Z"},
    "finished_at": {"S": "2026-01-01T00:00:21.000Z"},
    "expires_at": {"N": "4102444800"},
}
_EC2 = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
# The instance that every launch brings is shown as gone long ago, so that each is a first.
_INSTANCES = f"""<DescribeInstancesResponse {_EC2}><requestId>r</requestId><reservationSet><item>
<reservationId>r-1</reservationId><instancesSet><item><instanceId>i-1</instanceId>
<instanceState><code>48</code><name>terminated</name></instanceState>
<launchTime>2026-01-01T00:00:00.000Z</launchTime></item></instancesSet></item></reservationSet>
</DescribeInstancesResponse>"""
_FLEET = f"""<CreateFleetResponse {_EC2}><requestId>r</requestId><fleetId>fleet-1</fleetId>
<errorSet/><fleetInstanceSet><item><instanceIds><item>i-1</item></instanceIds></item>
</fleetInstanceSet></CreateFleetResponse>"""

ANSWERS = {
    "PutItem": "{}",
    "BatchGetItem": json.dumps({"Responses": {TABLE: [_JOB]}, "UnprocessedKeys": {}}),
    "GetQueueAttributes": json.dumps(
        {
            "Attributes": {
                "ApproximateNumberOfMessages": "0",
                "ApproximateNumberOfMessagesNotVisible": "0",
            }
        }
    ),
    "DescribeInstances": _INSTANCES,
    "CreateFleet": _FLEET,
}
_TARGET = re.compile(rb"(?im)^x-amz-target: .*\.(\w+)\r$")
_LENGTH = re.compile(rb"(?im)^content-length: (\d+)\r$")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            answer = ANSWERS[operation(head, body)].encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def operation(head: bytes, body: bytes) -> str:
    """Return the operation that a request asks for."""
    target = _TARGET.search(head)
    return target[1].decode() if target else parse_qs(body.decode())["Action"][0]


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
