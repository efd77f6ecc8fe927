// What surrounds the values: DescribeSecret, ListSecrets, DeleteSecret, RestoreSecret,
// tags, resource policies, GetRandomPassword, RemoveRegionsFromReplication.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CreateSecretCommand,
  DeleteResourcePolicyCommand,
  DeleteSecretCommand,
  DescribeSecretCommand,
  GetRandomPasswordCommand,
  GetResourcePolicyCommand,
  GetSecretValueCommand,
  InvalidNextTokenException,
  InvalidParameterException,
  InvalidRequestException,
  ListSecretsCommand,
  MalformedPolicyDocumentException,
  PublicPolicyException,
  PutResourcePolicyCommand,
  RemoveRegionsFromReplicationCommand,
  ResourceNotFoundException,
  RestoreSecretCommand,
  TagResourceCommand,
  UntagResourceCommand,
  ValidateResourcePolicyCommand,
  paginateListSecrets,
} from "@aws-sdk/client-secrets-manager";
import { client, members, newPrefix, refused, refusedByName, text } from "./setup.js";

const prefix = newPrefix();
const day = 24 * 60 * 60 * 1000;
const create = (name, rest = {}) => client.send(new CreateSecretCommand({ Name: prefix + name, ...rest }));
const describe = (name) => client.send(new DescribeSecretCommand({ SecretId: prefix + name }));

test("DescribeSecret", async () => {
  await create("empty", { Description: "" });
  assert.deepEqual(members(await describe("empty")), ["ARN", "CreatedDate", "LastChangedDate", "Name"]);
  await create("full", { SecretString: "v", Description: "d", Tags: [{ Key: "k", Value: "v" }] });
  const out = await describe("full");
  assert.deepEqual(members(out), ["ARN", "CreatedDate", "Description", "LastChangedDate", "Name", "Tags", "VersionIdsToStages"]);
  assert.ok(out.CreatedDate instanceof Date);
  assert.deepEqual(Object.values(out.VersionIdsToStages), [["AWSCURRENT"]]);
  await refused(describe("nothing"), ResourceNotFoundException, text.noSecret);
});

test("ListSecrets, in pages, sorted, with filters", async () => {
  const list = newPrefix();
  const rows = { a: "one and two", b: "a secret", c: "asecret" };
  for (const [name, Description] of Object.entries(rows)) {
    await client.send(new CreateSecretCommand({ Name: list + name, Description, Tags: [{ Key: "Row", Value: name }] }));
  }
  const found = async (input) => {
    const names = [];
    const Filters = [{ Key: "name", Values: [list] }, ...(input.Filters ?? [])];
    for await (const page of paginateListSecrets({ client, pageSize: 1 }, { ...input, Filters })) {
      assert.ok(page.SecretList.length <= 1);
      names.push(...page.SecretList.map((s) => s.Name.slice(list.length)));
    }
    return names.join("");
  };
  assert.equal(await found({}), "abc");
  assert.equal(await found({ SortBy: "name", SortOrder: "desc" }), "cba");
  assert.equal(await found({ Filters: [{ Key: "description", Values: ["two"] }] }), "a");
  assert.equal(await found({ Filters: [{ Key: "description", Values: ["a secret"] }] }), "b");
  assert.equal(await found({ Filters: [{ Key: "tag-value", Values: ["c", "a"] }] }), "ac");
  assert.equal(await found({ Filters: [{ Key: "tag-key", Values: ["!Row"] }] }), "");
  assert.equal(await found({ Filters: [{ Key: "all", Values: ["SECRET"] }] }), "b");
  await refused(client.send(new ListSecretsCommand({ NextToken: "made-up" })), InvalidNextTokenException);
  await refused(client.send(new ListSecretsCommand({ Filters: [{ Key: "name" }] })), InvalidParameterException, "Invalid filter values for key: name");
  await refusedByName(
    client.send(new ListSecretsCommand({ MaxResults: 101 })),
    "ValidationException",
    "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100",
  );
});

test("DeleteSecret and RestoreSecret", async () => {
  await create("goes", { SecretString: "v" });
  const SecretId = prefix + "goes";
  const remove = (rest) => client.send(new DeleteSecretCommand({ SecretId, ...rest }));
  await refused(remove({ RecoveryWindowInDays: 6 }), InvalidParameterException, "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).");
  await refused(
    remove({ RecoveryWindowInDays: 7, ForceDeleteWithoutRecovery: true }),
    InvalidParameterException,
    "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
  );
  const out = await remove({ RecoveryWindowInDays: 7 });
  assert.deepEqual(members(out), ["ARN", "DeletionDate", "Name"]);
  assert.ok(Math.abs(out.DeletionDate - Date.now() - 7 * day) < 5 * 60 * 1000);
  await refused(client.send(new GetSecretValueCommand({ SecretId })), InvalidRequestException, text.scheduled);
  await refused(
    create("goes"),
    InvalidRequestException,
    "You can't create this secret because a secret with this name is already scheduled for deletion.",
  );
  assert.ok((await describe("goes")).DeletedDate instanceof Date);
  assert.deepEqual(members(await client.send(new RestoreSecretCommand({ SecretId }))), ["ARN", "Name"]);
  assert.equal((await client.send(new GetSecretValueCommand({ SecretId }))).SecretString, "v");
  await remove({ ForceDeleteWithoutRecovery: true });
  await remove({ ForceDeleteWithoutRecovery: true });
  await refused(remove({}), ResourceNotFoundException, text.noSecret);
});

test("TagResource and UntagResource", async () => {
  await create("tags");
  const SecretId = prefix + "tags";
  const tag = (...Tags) => client.send(new TagResourceCommand({ SecretId, Tags }));
  assert.deepEqual(members(await tag({ Key: "a", Value: "1" }, { Key: "ключ", Value: "✓" })), []);
  await tag({ Key: "a", Value: "2" });
  assert.deepEqual((await describe("tags")).Tags, [{ Key: "a", Value: "2" }, { Key: "ключ", Value: "✓" }]);
  assert.deepEqual(members(await client.send(new UntagResourceCommand({ SecretId, TagKeys: ["a", "ключ", "none"] }))), []);
  assert.deepEqual((await describe("tags")).Tags, []);
  await refused(tag({ Key: "aws:x", Value: "1" }), InvalidParameterException);
});

test("resource policies", async () => {
  const { ARN } = await create("policy");
  const SecretId = ARN;
  const account = ARN.split(":")[4];
  const policy = (Principal) =>
    JSON.stringify({
      Version: "2012-10-17",
      Statement: [{ Effect: "Allow", Principal, Action: "secretsmanager:GetSecretValue", Resource: "*" }],
    });
  const narrow = policy({ AWS: `arn:aws:iam::${account}:root` });
  const get = () => client.send(new GetResourcePolicyCommand({ SecretId }));
  const put = (ResourcePolicy, BlockPublicPolicy) => client.send(new PutResourcePolicyCommand({ SecretId, ResourcePolicy, BlockPublicPolicy }));
  assert.deepEqual(members(await get()), ["ARN", "Name"]);
  assert.deepEqual(members(await put(policy("*"))), ["ARN", "Name"]);
  await put(narrow, true);
  assert.deepEqual(JSON.parse((await get()).ResourcePolicy), JSON.parse(narrow));
  await refused(put("{"), MalformedPolicyDocumentException, text.policySyntax);
  await refused(put(policy("*"), true), PublicPolicyException, "You can't attach a resource-based policy that allows broad access to the secret.");
  const valid = await client.send(new ValidateResourcePolicyCommand({ SecretId, ResourcePolicy: narrow }));
  assert.deepEqual([valid.PolicyValidationPassed, valid.ValidationErrors], [true, []]);
  const broad = await client.send(new ValidateResourcePolicyCommand({ ResourcePolicy: policy("*") }));
  assert.equal(broad.PolicyValidationPassed, false);
  assert.deepEqual(members(await client.send(new DeleteResourcePolicyCommand({ SecretId }))), ["ARN", "Name"]);
  assert.deepEqual(members(await get()), ["ARN", "Name"]);
});

test("GetRandomPassword", async () => {
  const { RandomPassword } = await client.send(new GetRandomPasswordCommand({}));
  assert.equal(RandomPassword.length, 32);
  const digits = await client.send(
    new GetRandomPasswordCommand({ PasswordLength: 50, ExcludeLowercase: true, ExcludeUppercase: true, ExcludePunctuation: true }),
  );
  assert.match(digits.RandomPassword, /^[0-9]{50}$/);
  await refused(client.send(new GetRandomPasswordCommand({ PasswordLength: 3 })), InvalidParameterException, "Password length is too short based on the required types.");
});

test("RemoveRegionsFromReplication without replicas", async () => {
  const { ARN } = await create("regions");
  const out = await client.send(new RemoveRegionsFromReplicationCommand({ SecretId: ARN, RemoveReplicaRegions: ["eu-west-1"] }));
  assert.equal(out.ARN, ARN);
});
