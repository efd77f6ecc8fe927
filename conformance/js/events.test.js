// Who did what: LookupEvents.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CloudTrailClient, InvalidTimeRangeException, paginateLookupEvents, LookupEventsCommand } from "@aws-sdk/client-cloudtrail";
import { CreateSecretCommand, GetSecretValueCommand } from "@aws-sdk/client-secrets-manager";
import { client, credentials, endpoint, newPrefix, refused, region } from "./setup.js";

// An account may look up twice a second, and other programs look up, too.
const trail = new CloudTrailClient({ endpoint, region, credentials, maxAttempts: 20 });
const prefix = newPrefix();

test("LookupEvents", async () => {
  const name = prefix + "events";
  await client.send(new CreateSecretCommand({ Name: name, SecretString: "s3cret" }));
  for (let i = 0; i < 3; i++) await client.send(new GetSecretValueCommand({ SecretId: name }));
  const input = { LookupAttributes: [{ AttributeKey: "ResourceName", AttributeValue: name }] };
  const events = [];
  for await (const page of paginateLookupEvents({ client: trail, pageSize: 3 }, input)) events.push(...page.Events);
  assert.deepEqual(
    events.map((e) => e.EventName),
    ["GetSecretValue", "GetSecretValue", "GetSecretValue", "CreateSecret"],
  );
  assert.equal(events[0].ReadOnly, "true");
  assert.ok(Math.abs(events[0].EventTime - new Date()) < 5 * 60 * 1000);
  assert.deepEqual(events[0].Resources, [{ ResourceType: "AWS::SecretsManager::Secret", ResourceName: name }]);
  const record = JSON.parse(events[0].CloudTrailEvent);
  assert.equal(record.eventID, events[0].EventId);
  assert.equal(record.arca, undefined);
});

test("LookupEvents refuses a time range that ends before it begins", async () => {
  const now = new Date();
  await refused(trail.send(new LookupEventsCommand({ StartTime: now, EndTime: new Date(now - 3600e3) })), InvalidTimeRangeException);
});
