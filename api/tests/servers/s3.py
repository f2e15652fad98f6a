"""An S3 server with one bucket, `files`, and one user: s3.py.

Says `ready PORT ACCESS_KEY_ID SECRET_ACCESS_KEY`. From then on it checks every request's signature and
rights, as S3 does.
"""

import json
import logging
import os
import sys

# Requests that are not checked: those that make the bucket and the user.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
here = {
    "endpoint_url": f"http://127.0.0.1:{port}",
    "region_name": "us-east-1",
    "aws_access_key_id": "any",
    "aws_secret_access_key": "any",
}
boto3.client("s3", **here).create_bucket(Bucket="files")
iam = boto3.client("iam", **here)
iam.create_user(UserName="forewarn")
rights = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"], "Resource": "*"}
document = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
iam.put_user_policy(UserName="forewarn", PolicyName="files", PolicyDocument=document)
key = iam.create_access_key(UserName="forewarn")["AccessKey"]
print("ready", port, key["AccessKeyId"], key["SecretAccessKey"], flush=True)
# Ends with whoever started it.
sys.stdin.read()
os._exit(0)
