// Signatures: in the URL, with a wrong key, and too late.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Sha256 } from "@aws-crypto/sha256-js";
import { CreateSecretCommand, ListSecretsCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { HttpRequest } from "@smithy/protocol-http";
import { SignatureV4 } from "@smithy/signature-v4";
import { client, credentials, endpoint, newPrefix, refusedByName, region } from "./setup.js";

const prefix = newPrefix();

/** Signs a call in its URL and returns what fetch needs. The signer moves the target there, too. */
async function presign(operation, input, options = {}) {
  const url = new URL(endpoint);
  const body = JSON.stringify(input);
  const request = new HttpRequest({
    method: "POST",
    protocol: url.protocol,
    hostname: url.hostname,
    port: Number(url.port) || undefined,
    path: "/",
    headers: {
      host: url.host,
      "content-type": "application/x-amz-json-1.1",
      "x-amz-target": `secretsmanager.${operation}`,
    },
    body,
  });
  const signer = new SignatureV4({ service: "secretsmanager", region, credentials, sha256: Sha256 });
  const signed = await signer.presign(request, { expiresIn: 900, ...options });
  const target = new URL(endpoint);
  target.search = new URLSearchParams(signed.query).toString();
  const { host, ...headers } = signed.headers;
  return [target, { method: "POST", headers, body }];
}

test("presigned URL", async () => {
  const Name = prefix + "s";
  await client.send(new CreateSecretCommand({ Name, SecretString: "presigned ✓" }));
  for (const options of [{}, { unhoistableHeaders: new Set(["x-amz-target"]) }, { signingDate: new Date(Date.now() - 600_000) }]) {
    const [url, init] = await presign("GetSecretValue", { SecretId: Name }, options);
    const answer = await fetch(url, init);
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.equal((await answer.json()).SecretString, "presigned ✓");
  }
});

test("presigned URL that does not hold", async () => {
  const code = async ([url, init]) => {
    const answer = await fetch(url, init);
    assert.equal(answer.status, 400);
    return (await answer.json()).__type;
  };
  assert.equal(await code(await presign("ListSecrets", {}, { signingDate: new Date(Date.now() - 3_600_000) })), "InvalidSignatureException");
  const [url, init] = await presign("ListSecrets", {});
  assert.equal(await code([url, { ...init, body: '{"MaxResults":1}' }]), "InvalidSignatureException");
});

test("credentials that do not hold", async () => {
  const list = (creds) =>
    new SecretsManagerClient({ endpoint, region, credentials: creds, maxAttempts: 1 }).send(new ListSecretsCommand({}));
  await refusedByName(
    list({ accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "x" }),
    "UnrecognizedClientException",
    "The security token included in the request is invalid.",
  );
  await refusedByName(list({ ...credentials, secretAccessKey: "wrong" }), "InvalidSignatureException");
});
