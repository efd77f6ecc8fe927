"""Who did what, with boto3 as Debian has it."""

import datetime
import json
import os
import secrets
import unittest

import boto3
from botocore.config import Config


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # An account may look up twice a second, and other programs look up, too.
        config = Config(retries={"mode": "standard", "total_max_attempts": 20})
        url = os.environ["ARCA_URL"]
        cls.trail = boto3.client("cloudtrail", endpoint_url=url, config=config)
        cls.client = boto3.client("secretsmanager", endpoint_url=url)

    def test_events_of_a_secret(self):
        name = "python/events/" + secrets.token_hex(6)
        made = self.client.create_secret(Name=name, SecretString="s3cret")
        for _ in range(4):
            self.client.get_secret_value(SecretId=name)
        self.client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)

        attributes = [{"AttributeKey": "ResourceName", "AttributeValue": name}]
        pages = self.trail.get_paginator("lookup_events").paginate(
            LookupAttributes=attributes, PaginationConfig={"PageSize": 4})
        events = [e for page in pages for e in page["Events"]]
        self.assertEqual([e["EventName"] for e in events], ["DeleteSecret"] + ["GetSecretValue"] * 4 + ["CreateSecret"])
        read = events[1]
        self.assertEqual(read["ReadOnly"], "true")
        self.assertEqual(read["EventSource"], "secretsmanager.amazonaws.com")
        self.assertIn({"ResourceType": "AWS::SecretsManager::Secret", "ResourceName": name}, read["Resources"])
        ago = datetime.datetime.now(datetime.timezone.utc) - read["EventTime"]
        self.assertLess(abs(ago), datetime.timedelta(minutes=5))
        record = json.loads(read["CloudTrailEvent"])
        self.assertEqual(record["eventID"], read["EventId"])
        self.assertEqual(record["requestParameters"]["secretId"], name)
        self.assertNotIn("arca", record)
        self.assertNotIn("s3cret", json.dumps([e["CloudTrailEvent"] for e in events]))
        self.assertEqual(json.loads(events[-1]["CloudTrailEvent"])["responseElements"]["arn"], made["ARN"])

    def test_errors(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        with self.assertRaises(self.trail.exceptions.InvalidTimeRangeException):
            self.trail.lookup_events(StartTime=now, EndTime=now - datetime.timedelta(hours=1))
        with self.assertRaises(self.trail.exceptions.InvalidNextTokenException):
            self.trail.lookup_events(NextToken="bm90IGEgdG9rZW4=")


if __name__ == "__main__":
    unittest.main()
