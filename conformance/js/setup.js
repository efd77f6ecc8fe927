// What every test file needs: a client for the server that the environment names
// (ARCA_URL and the usual AWS variables), names of its own, and error checks.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after } from "node:test";
import { DeleteSecretCommand, SecretsManagerClient, paginateListSecrets } from "@aws-sdk/client-secrets-manager";

export const region = process.env.AWS_REGION ?? "us-east-1";
export const endpoint = process.env.ARCA_URL;
assert.ok(endpoint, "ARCA_URL is not set: run this through go test ./conformance");

export const credentials = {
  accessKeyId: process.env.AWS_ACCESS_KEY_ID,
  secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY,
};

export const client = new SecretsManagerClient({ endpoint, region, credentials });

/** A prefix that no other test has. What is made under it is removed in the end. */
export function newPrefix() {
  const prefix = `js/${randomBytes(6).toString("hex")}/`;
  after(async () => {
    const input = { Filters: [{ Key: "name", Values: [prefix] }], IncludePlannedDeletion: true };
    for await (const page of paginateListSecrets({ client }, input)) {
      for (const { ARN } of page.SecretList) {
        await client.send(new DeleteSecretCommand({ SecretId: ARN, ForceDeleteWithoutRecovery: true }));
      }
    }
  });
  return prefix;
}

/** A ClientRequestToken that nobody used. */
export const newToken = () => randomBytes(16).toString("hex");

/** Expects a call to fail with an error of a class and, unless it is not known, a text. */
export async function refused(promise, type, text) {
  await assert.rejects(promise, (err) => {
    assert.ok(err instanceof type, `${err.name}: ${err.message} is not a ${type.name}`);
    if (text !== undefined) assert.equal(err.message, text);
    assert.equal(err.$metadata.httpStatusCode, 400);
    return true;
  });
}

/** Like refused, for codes that the service model does not list. */
export async function refusedByName(promise, name, text) {
  await assert.rejects(promise, (err) => {
    assert.equal(err.name, name);
    if (text !== undefined) assert.equal(err.message, text);
    return true;
  });
}

/** The members that an output has, without the SDK's own. */
export const members = (output) =>
  Object.keys(output).filter((k) => k !== "$metadata" && output[k] !== undefined).sort();

export const text = {
  noSecret: "Secrets Manager can't find the specified secret.",
  scheduled: "You can't perform this operation on the secret because it was marked for deletion.",
  badName:
    "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
  policySyntax: "This resource policy contains a syntax error.",
};
