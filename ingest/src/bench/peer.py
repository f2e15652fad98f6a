"""A subscriber as people write it first: paho-mqtt in, psycopg out, gathered for speed.

Arguments: port of the broker, address of the database, file that says "ready".
"""

import json
import os
import pathlib
import queue
import sys
import threading
from datetime import datetime

import paho.mqtt.client as mqtt
import psycopg

PORT, URL, READY = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
ROWS, SECONDS = 5000, 0.1

messages = queue.SimpleQueue()


def on_message(_client, _userdata, message):
    messages.put((message.topic, message.payload))


def on_connect(client, *_):
    client.subscribe("bench/#", qos=1)


def on_subscribe(*_):
    READY.touch()


def write_or_end():
    try:
        write()
    finally:
        os._exit(1)  # a thread that dies alone would look like a slow subscriber


def write():
    channels = {}
    insert = "INSERT INTO reading (channel_id, ts, value) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
    with psycopg.connect(URL) as connection, connection.cursor() as cursor:
        while True:
            rows = [row(channels, *messages.get())]
            try:
                while len(rows) < ROWS:
                    rows.append(row(channels, *messages.get(timeout=SECONDS)))
            except queue.Empty:
                pass
            cursor.executemany(insert, rows)
            connection.commit()


def row(channels, topic, payload):
    reading = json.loads(payload)
    channel = channels.setdefault(topic, len(channels) + 1)
    return channel, datetime.fromisoformat(reading["ts"].replace("Z", "+00:00")), reading["value"]


threading.Thread(target=write_or_end, daemon=True).start()
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="subscriber", clean_session=False)
client.on_connect, client.on_message, client.on_subscribe = on_connect, on_message, on_subscribe
client.connect("127.0.0.1", PORT)
client.loop_forever()
