"""Gets an app token with Microsoft's library for Python and a PEM file that holds a
key and its certificate. Prints one JSON object: {"roles": […]} or {"error": "…"}.

The arguments: login host, tenant ID, client ID, PEM file, scope.
"""

import base64
import hashlib
import json
import re
import sys

import msal

login, tenant, client_id, file, scope = sys.argv[1:]
with open(file, encoding="ascii") as opened:
    pem = opened.read()
certificate = re.search("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", pem, re.S)
key = re.search("-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----", pem, re.S)
client = msal.ConfidentialClientApplication(
    client_id,
    authority=login + "/" + tenant,
    client_credential={
        "private_key": key.group(0),
        "thumbprint": hashlib.sha1(base64.b64decode(certificate.group(1))).hexdigest(),
    },
    validate_authority=False,
)
answer = client.acquire_token_for_client(scopes=[scope])
if "access_token" in answer:
    claims = answer["access_token"].split(".")[1]
    print(json.dumps({"roles": json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("roles", [])}))
else:
    print(json.dumps({"error": answer.get("error_description", "")}))
