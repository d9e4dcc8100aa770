// Gets an app token with msal-node and a PEM file that holds a key and its
// certificate. Prints one JSON object: {"audience": "…"} or {"error": "…"}.
//
// The arguments: tenant ID, client ID, PEM file, scope.
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";

import { ConfidentialClientApplication } from "@azure/msal-node";

const [tenant, clientId, file, scope] = process.argv.slice(2);
const pem = readFileSync(file, "utf8");
const certificate = new X509Certificate(pem.match(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/)[0]);
const client = new ConfidentialClientApplication({
  auth: {
    clientId,
    authority: `https://login.microsoftonline.com/${tenant}`,
    clientCertificate: {
      thumbprintSha256: createHash("sha256").update(certificate.raw).digest("hex"),
      privateKey: pem.match(/-----BEGIN PRIVATE KEY-----[^]*?-----END PRIVATE KEY-----/)[0],
    },
  },
});
try {
  const answer = await client.acquireTokenByClientCredential({ scopes: [scope] });
  console.log(JSON.stringify({ audience: JSON.parse(Buffer.from(answer.accessToken.split(".")[1], "base64url")).aud }));
} catch (refused) {
  console.log(JSON.stringify({ error: String(refused.errorMessage ?? refused) }));
}
