// Secrets and their values: CreateSecret, PutSecretValue, UpdateSecret,
// UpdateSecretVersionStage, GetSecretValue, BatchGetSecretValue, ListSecretVersionIds.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  BatchGetSecretValueCommand,
  CreateSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  InvalidNextTokenException,
  InvalidParameterException,
  InvalidRequestException,
  LimitExceededException,
  ListSecretVersionIdsCommand,
  PutSecretValueCommand,
  ResourceExistsException,
  ResourceNotFoundException,
  UpdateSecretCommand,
  UpdateSecretVersionStageCommand,
  paginateBatchGetSecretValue,
  paginateListSecretVersionIds,
} from "@aws-sdk/client-secrets-manager";
import { client, members, newPrefix, newToken, refused, refusedByName, text } from "./setup.js";

const prefix = newPrefix();
const create = (name, rest = {}) => client.send(new CreateSecretCommand({ Name: prefix + name, ...rest }));
const put = (name, rest) => client.send(new PutSecretValueCommand({ SecretId: prefix + name, ...rest }));
const get = (name, rest = {}) => client.send(new GetSecretValueCommand({ SecretId: prefix + name, ...rest }));

/** The labels of every version by the names given to version ids, sorted. */
async function labels(name, ids) {
  const out = await client.send(new DescribeSecretCommand({ SecretId: prefix + name }));
  return Object.fromEntries(
    Object.entries(out.VersionIdsToStages ?? {}).map(([id, stages]) => [ids[id], stages.toSorted()]),
  );
}

test("CreateSecret and GetSecretValue", async () => {
  const token = newToken();
  const made = await create("string", { SecretString: "s3cret", ClientRequestToken: token, Description: "d" });
  assert.deepEqual(members(made), ["ARN", "Name", "VersionId"]);
  assert.equal(made.VersionId, token);
  assert.match(made.ARN, new RegExp(`^arn:aws:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:${prefix}string-[A-Za-z0-9]{6}$`));
  for (const id of [made.Name, made.ARN, made.ARN.slice(0, -7)]) {
    const out = await client.send(new GetSecretValueCommand({ SecretId: id }));
    assert.deepEqual(members(out), ["ARN", "CreatedDate", "Name", "SecretString", "VersionId", "VersionStages"]);
    assert.equal(out.SecretString, "s3cret");
    assert.deepEqual(out.VersionStages, ["AWSCURRENT"]);
    assert.ok(Math.abs(out.CreatedDate - new Date()) < 5 * 60 * 1000);
  }
  assert.deepEqual(members(await create("none")), ["ARN", "Name"]);
});

test("values come back as they were", async (t) => {
  for (const [name, value] of Object.entries({
    unicode: "pässwörd 密码 🔑 \u2028 e\u0301",
    json: '{"a":"\\"\\\\"}',
    controls: "\t\r\n\u0000\u0007\u007f",
    longest: "v".repeat(65536),
  })) {
    await t.test(name, async () => {
      await create(name, { SecretString: value });
      assert.equal((await get(name)).SecretString, value);
    });
  }
  for (const [name, value] of Object.entries({
    every: Uint8Array.from({ length: 256 }, (_, i) => i),
    "binary-longest": new Uint8Array(65536).fill(255),
  })) {
    await t.test(name, async () => {
      await create(name, { SecretBinary: value });
      const out = await get(name);
      assert.deepEqual(Buffer.from(out.SecretBinary), Buffer.from(value));
      assert.equal(out.SecretString, undefined);
    });
  }
  await refusedByName(
    create("too-long", { SecretString: "v".repeat(65537) }),
    "ValidationException",
    "1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536",
  );
});

test("CreateSecret errors", async () => {
  const token = newToken();
  const { ARN } = await create("taken", { SecretString: "v", ClientRequestToken: token });
  await create("taken", { SecretString: "v", ClientRequestToken: token });
  await refused(create("taken", { SecretString: "v" }), ResourceExistsException, `The operation failed because the secret ${prefix}taken already exists.`);
  await refused(
    create("taken", { SecretString: "w", ClientRequestToken: token }),
    ResourceExistsException,
    `You can't use ClientRequestToken ${token} because that value is already in use for a version of secret ${ARN}.`,
  );
  await refused(create("both", { SecretString: "v", SecretBinary: Buffer.from("v") }), InvalidParameterException);
  await refusedByName(create("Inv Name"), "ValidationException", text.badName);
});

test("PutSecretValue moves labels", async () => {
  await create("labels");
  const ids = {};
  for (const [name, stages] of [["v1"], ["v2"], ["v3", ["mine"]], ["v4", ["AWSCURRENT", "AWSPENDING"]], ["v5"]]) {
    const out = await put("labels", { SecretString: name, VersionStages: stages });
    assert.deepEqual(members(out), ["ARN", "Name", "VersionId", "VersionStages"]);
    ids[out.VersionId] = name;
  }
  assert.deepEqual(await labels("labels", ids), { v3: ["mine"], v4: ["AWSPREVIOUS"], v5: ["AWSCURRENT"] });
  assert.equal((await get("labels")).SecretString, "v5");
  assert.equal((await get("labels", { VersionStage: "AWSPREVIOUS" })).SecretString, "v4");
  assert.equal((await get("labels", { VersionStage: "mine" })).SecretString, "v3");
  const v1 = Object.keys(ids).find((id) => ids[id] === "v1");
  assert.equal((await get("labels", { VersionId: v1 })).SecretString, "v1");
});

test("PutSecretValue errors", async () => {
  await create("put", { SecretString: "v" });
  await refused(put("nothing", { SecretString: "v" }), ResourceNotFoundException, text.noSecret);
  await refused(put("put", {}), InvalidRequestException, "You must provide either SecretString or SecretBinary.");
  const ClientRequestToken = newToken();
  await put("put", { SecretString: "w", ClientRequestToken });
  await put("put", { SecretString: "w", ClientRequestToken });
  await refused(put("put", { SecretString: "x", ClientRequestToken }), ResourceExistsException);
  const VersionStages = Array.from({ length: 20 }, (_, i) => `label-${i}`);
  await refused(put("put", { SecretString: "x", VersionStages }), LimitExceededException);
});

test("UpdateSecret", async () => {
  const { ARN } = await create("update", { SecretString: "one" });
  const update = (rest) => client.send(new UpdateSecretCommand({ SecretId: ARN, ...rest }));
  assert.deepEqual(members(await update({ Description: "changed" })), ["ARN", "Name"]);
  assert.deepEqual(members(await update({ SecretString: "two" })), ["ARN", "Name", "VersionId"]);
  assert.equal((await get("update")).SecretString, "two");
  assert.equal((await get("update", { VersionStage: "AWSPREVIOUS" })).SecretString, "one");
  const out = await client.send(new DescribeSecretCommand({ SecretId: ARN }));
  assert.equal(out.Description, "changed");
  await refused(client.send(new UpdateSecretCommand({ SecretId: prefix + "nothing", Description: "d" })), ResourceNotFoundException, text.noSecret);
});

test("UpdateSecretVersionStage", async () => {
  await create("stage");
  const v1 = (await put("stage", { SecretString: "1" })).VersionId;
  const v2 = (await put("stage", { SecretString: "2", VersionStages: ["AWSPENDING"] })).VersionId;
  const move = (rest) => client.send(new UpdateSecretVersionStageCommand({ SecretId: prefix + "stage", ...rest }));
  await refused(
    move({ VersionStage: "AWSCURRENT", MoveToVersionId: v2 }),
    InvalidParameterException,
    `The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version ${v1}, so you must explicitly reference that version in RemoveFromVersionId.`,
  );
  await refused(
    move({ VersionStage: "AWSCURRENT", RemoveFromVersionId: v1 }),
    InvalidParameterException,
    "You can only move staging label AWSCURRENT to a different secret version. It can\u2019t be completely removed.",
  );
  const out = await move({ VersionStage: "AWSCURRENT", MoveToVersionId: v2, RemoveFromVersionId: v1 });
  assert.deepEqual(members(out), ["ARN", "Name"]);
  assert.deepEqual(await labels("stage", { [v1]: "v1", [v2]: "v2" }), { v1: ["AWSPREVIOUS"], v2: ["AWSCURRENT", "AWSPENDING"] });
});

test("GetSecretValue errors", async () => {
  await create("empty");
  await create("get", { SecretString: "v" });
  const id = newToken();
  await refused(get("nothing"), ResourceNotFoundException, text.noSecret);
  await refused(get("empty"), ResourceNotFoundException, "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT");
  await refused(get("get", { VersionId: id }), ResourceNotFoundException, `Secrets Manager can't find the specified secret value for VersionId: ${id}`);
  const { VersionId } = await get("get");
  await refused(get("get", { VersionId, VersionStage: "AWSPREVIOUS" }), InvalidRequestException, "You provided a VersionStage that is not associated to the provided VersionId.");
  await refusedByName(client.send(new GetSecretValueCommand({ SecretId: "Inv Name" })), "ValidationException", text.badName);
});

test("ListSecretVersionIds, in pages", async () => {
  await create("versions");
  const want = [];
  for (let i = 0; i < 5; i++) want.push((await put("versions", { SecretString: `${i}` })).VersionId);
  const got = [];
  for await (const page of paginateListSecretVersionIds({ client, pageSize: 2 }, { SecretId: prefix + "versions", IncludeDeprecated: true })) {
    assert.ok(page.Versions.length <= 2);
    for (const v of page.Versions) {
      assert.deepEqual(v.KmsKeyIds, ["DefaultEncryptionKey"]);
      got.push(v.VersionId);
    }
  }
  assert.deepEqual(got.toSorted(), want.toSorted());
  const out = await client.send(new ListSecretVersionIdsCommand({ SecretId: prefix + "versions" }));
  assert.equal(out.Versions.length, 2);
  await refused(client.send(new ListSecretVersionIdsCommand({ SecretId: prefix + "versions", NextToken: "made-up" })), InvalidNextTokenException);
});

test("BatchGetSecretValue", async () => {
  const batch = newPrefix();
  for (let i = 0; i < 5; i++) {
    await client.send(new CreateSecretCommand({ Name: `${batch}${i}`, SecretString: `v${i}` }));
  }
  const out = await client.send(new BatchGetSecretValueCommand({ SecretIdList: [`${batch}3`, `${batch}nothing`, `${batch}1`] }));
  assert.deepEqual(out.SecretValues.map((v) => v.SecretString).toSorted(), ["v1", "v3"]);
  assert.deepEqual(out.Errors, [{ SecretId: `${batch}nothing`, ErrorCode: "ResourceNotFoundException", Message: text.noSecret }]);
  const got = [];
  for await (const page of paginateBatchGetSecretValue({ client, pageSize: 2 }, { Filters: [{ Key: "name", Values: [batch] }] })) {
    got.push(...page.SecretValues.map((v) => v.SecretString));
  }
  assert.deepEqual(got.toSorted(), ["v0", "v1", "v2", "v3", "v4"]);
  await refused(client.send(new BatchGetSecretValueCommand({})), InvalidParameterException, "Either 'SecretIdList' or 'Filters' must be provided, but not both.");
});
