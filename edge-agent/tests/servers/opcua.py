"""An OPC UA server with known nodes, on a free port: opcua.py PORT FOLDER.

Offers no security and Basic256Sha256 with signing and encryption; anonymous and user `forewarn` with
password `geheim`. Namespace http://forewarn.test/plant. `counter` counts up, ten times a second: from
1000000 in the first server of a folder, from 1 in the next ones, so that both are told apart however
long the second has been counting before anybody listens.
Writes its certificate to FOLDER/server.der, and trusts every client.
"""

import asyncio
import sys
from pathlib import Path

from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from cryptography.x509.oid import ExtendedKeyUsageOID

URI = "urn:forewarn:test"


class Users:
    def get_user(self, iserver, username=None, password=None, certificate=None):
        if username is None or (username == "forewarn" and password == "geheim"):
            return User(role=UserRole.User)
        return None


async def main():
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    server = Server(user_manager=Users())
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    await server.set_application_uri(URI)
    key, cert = folder / "server.pem", folder / "server.der"
    n = 0 if cert.exists() else 1_000_000
    await setup_self_signed_certificate(
        key, cert, URI, "localhost", [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH], {}
    )
    await server.load_certificate(str(cert))
    await server.load_private_key(str(key))
    server.set_security_policy(
        [ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
    )
    space = await server.register_namespace("http://forewarn.test/plant")
    plant = await server.nodes.objects.add_object(space, "Plant")

    async def add(name, value, kind):
        return await plant.add_variable(ua.NodeId(name, space), name, value, kind)

    await add("temp", 21.5, ua.VariantType.Double)
    await add("running", True, ua.VariantType.Boolean)
    await add("count64", 5_000_000_000, ua.VariantType.Int64)
    await add("name", "press", ua.VariantType.String)
    counter = await add("counter", 0, ua.VariantType.UInt32)
    shaky = await add("shaky", 1.0, ua.VariantType.Float)
    await shaky.write_value(
        ua.DataValue(ua.Variant(2.0, ua.VariantType.Float), StatusCode=ua.StatusCode(ua.StatusCodes.Uncertain))
    )
    async with server:
        print("ready", space, flush=True)
        done = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        while not done.done():
            n += 1
            await counter.write_value(n, ua.VariantType.UInt32)
            await asyncio.sleep(0.1)


asyncio.run(main())
