"""Gets an app token with msal and a PEM file that holds a key and its certificate.
Prints one JSON object: {"audience": "…"} or {"error": "…"}.

The arguments: tenant ID, client ID, PEM file, scope.
"""

import base64
import hashlib
import json
import re
import sys

import msal

tenant, client_id, file, scope = sys.argv[1:]
with open(file, encoding="ascii") as opened:
    pem = opened.read()
certificate = re.search("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", pem, re.S)
key = re.search("-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----", pem, re.S)
client = msal.ConfidentialClientApplication(
    client_id,
    authority="https://login.microsoftonline.com/" + tenant,
    client_credential={
        "private_key": key.group(0),
        "thumbprint": hashlib.sha1(base64.b64decode(certificate.group(1))).hexdigest(),
    },
)
answer = client.acquire_token_for_client(scopes=[scope])
if "access_token" in answer:
    claims = answer["access_token"].split(".")[1]
    print(json.dumps({"audience": json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["aud"]}))
else:
    print(json.dumps({"error": answer.get("error_description", "")}))
