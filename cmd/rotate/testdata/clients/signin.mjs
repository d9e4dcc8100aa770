// Gets an app token with Microsoft's library for Node and a PEM file that holds a
// key and its certificate. Prints one JSON object: {"roles": […]} or {"error": "…"}.
//
// The arguments: login host, tenant ID, client ID, PEM file, scope.
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";

import { ConfidentialClientApplication } from "@azure/msal-node";

const [login, tenant, clientId, file, scope] = process.argv.slice(2);
const pem = readFileSync(file, "utf8");
const certificate = new X509Certificate(pem.match(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/)[0]);
const client = new ConfidentialClientApplication({
  auth: {
    clientId,
    authority: `${login}/${tenant}`,
    knownAuthorities: [new URL(login).host],
    clientCertificate: {
      thumbprintSha256: createHash("sha256").update(certificate.raw).digest("hex"),
      privateKey: pem.match(/-----BEGIN PRIVATE KEY-----[^]*?-----END PRIVATE KEY-----/)[0],
    },
  },
});
try {
  const answer = await client.acquireTokenByClientCredential({ scopes: [scope] });
  const claims = JSON.parse(Buffer.from(answer.accessToken.split(".")[1], "base64url"));
  console.log(JSON.stringify({ roles: claims.roles ?? [] }));
} catch (refused) {
  console.log(JSON.stringify({ error: String(refused.errorMessage ?? refused) }));
}
