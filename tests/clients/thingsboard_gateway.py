"""A ThingsBoard gateway, by ThingsBoard's own client: PyPI tb-mqtt-client."""

import sys

from tb_gateway_mqtt import TBGatewayMqttClient

host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
gateway = TBGatewayMqttClient(host, port, username=user, password=password, client_id="tb-gateway")
gateway.connect()
while not gateway.is_connected():
    pass
gateway.gw_connect_device("Pump A")
for i in range(5):
    result = gateway.gw_send_telemetry(
        "Pump A", {"ts": 1767225600000 + i, "values": {"temperature": 40 + i, "running": True}}
    )
    assert result.get() == 0, result.get()
result = gateway.gw_send_attributes("Pump A", {"firmware": "1.2.3"})
assert result.get() == 0, result.get()
result = gateway.send_telemetry({"ts": 1767225600000, "values": {"load": 7}})
assert result.get() == 0, result.get()
gateway.gw_disconnect_device("Pump A")
gateway.disconnect()
gateway.stop()
