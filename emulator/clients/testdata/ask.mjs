// Signs in with @azure/identity and asks Microsoft Graph with its JavaScript client.
//
// The arguments: tenant ID, client ID, PEM file with key and certificate, client
// secret. Reads a JSON array of requests from stdin: {path, method, body, filter,
// select, expand, orderby, top, search, count, eventual, version}. Prints a JSON array of answers:
// {answer} or {status, code, message}; even ones sign in with the certificate, odd ones
// with the secret.
import { readFileSync } from "node:fs";

import { ClientCertificateCredential, ClientSecretCredential } from "@azure/identity";
import { Client } from "@microsoft/microsoft-graph-client";
import { TokenCredentialAuthenticationProvider } from "@microsoft/microsoft-graph-client/authProviders/azureTokenCredentials/index.js";

const [tenant, clientId, certificatePath, secret] = process.argv.slice(2);
const clients = [
  new ClientCertificateCredential(tenant, clientId, { certificatePath }),
  new ClientSecretCredential(tenant, clientId, secret),
].map((credential) =>
  Client.initWithMiddleware({
    authProvider: new TokenCredentialAuthenticationProvider(credential, { scopes: ["https://graph.microsoft.com/.default"] }),
  }),
);
const answers = [];
for (const [i, asked] of JSON.parse(readFileSync(0, "utf8")).entries()) {
  let request = clients[i % 2].api(asked.path);
  for (const option of ["version", "filter", "select", "expand", "orderby", "top", "search", "count"]) {
    if (asked[option] !== undefined) request = request[option](asked[option]);
  }
  if (asked.eventual) request = request.header("ConsistencyLevel", "eventual");
  try {
    answers.push({ answer: (await request[asked.method ?? "get"](asked.body)) ?? null });
  } catch (refused) {
    answers.push({ status: refused.statusCode, code: refused.code, message: refused.message });
  }
}
console.log(JSON.stringify(answers));
