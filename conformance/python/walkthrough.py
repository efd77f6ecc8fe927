"""The walk-throughs people know, with boto3 as Debian has it (of 2022: the endpoint
is given as endpoint_url=, and there is no batch_get_secret_value)."""

import datetime
import json
import os
import re
import secrets
import unittest

import boto3
from botocore.exceptions import ClientError, ParamValidationError

MISSING = "Secrets Manager can't find the specified secret."
SCHEDULED = "You can't perform this operation on the secret because it was marked for deletion."


def members(answer):
    return sorted(k for k in answer if k != "ResponseMetadata")


class Walkthrough(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Credentials and region come from the environment.
        cls.client = boto3.client("secretsmanager", endpoint_url=os.environ["ARCA_URL"])

    def setUp(self):
        self.prefix = "python/" + secrets.token_hex(6) + "/"

    def create(self, name, **rest):
        made = self.client.create_secret(Name=self.prefix + name, **rest)
        self.addCleanup(self.client.delete_secret, SecretId=made["ARN"], ForceDeleteWithoutRecovery=True)
        return made

    def get(self, name, **rest):
        return self.client.get_secret_value(SecretId=self.prefix + name, **rest)

    def refused(self, exception, text=None):
        """Expects an error, by class, with a text unless it is None."""
        test = self

        class Refused:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, trace):
                test.assertIsNotNone(error, "the call was not refused")
                if not isinstance(error, exception):
                    return False
                test.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
                if text is not None:
                    test.assertEqual(error.response["Error"]["Message"], text)
                return True

        return Refused()

    def test_string_and_binary(self):
        made = self.create("string", SecretString='{"user":"ü","password":"密"}', Description="d")
        self.assertEqual(members(made), ["ARN", "Name", "VersionId"])
        self.assertRegex(made["ARN"], r"^arn:aws:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:" + re.escape(made["Name"]) + r"-[A-Za-z0-9]{6}$")
        for name in made["Name"], made["ARN"]:
            got = self.client.get_secret_value(SecretId=name)
            self.assertEqual(members(got), ["ARN", "CreatedDate", "Name", "SecretString", "VersionId", "VersionStages"])
            self.assertEqual(json.loads(got["SecretString"]), {"user": "ü", "password": "密"})
            self.assertEqual(got["VersionStages"], ["AWSCURRENT"])
            self.assertIsInstance(got["CreatedDate"], datetime.datetime)
        value = bytes(range(256)) * 256
        self.create("binary", SecretBinary=value)
        got = self.get("binary")
        self.assertEqual(got["SecretBinary"], value)
        self.assertNotIn("SecretString", got)

    def test_update_and_previous(self):
        self.create("s", SecretString="one")
        name = self.prefix + "s"
        self.client.update_secret(SecretId=name, SecretString="two", Description="changed")
        self.assertEqual(self.get("s")["SecretString"], "two")
        self.assertEqual(self.get("s", VersionStage="AWSPREVIOUS")["SecretString"], "one")
        self.assertEqual(self.client.describe_secret(SecretId=name)["Description"], "changed")

    def test_version_with_its_own_stage(self):
        self.create("s", SecretString="one")
        name = self.prefix + "s"
        put = self.client.put_secret_value(SecretId=name, SecretString="two", VersionStages=["CANDIDATE"])
        self.assertEqual(put["VersionStages"], ["CANDIDATE"])
        self.assertEqual(self.get("s")["SecretString"], "one")
        self.assertEqual(self.get("s", VersionStage="CANDIDATE")["SecretString"], "two")
        self.assertEqual(self.get("s", VersionId=put["VersionId"])["SecretString"], "two")
        current = self.get("s")["VersionId"]
        self.client.update_secret_version_stage(
            SecretId=name, VersionStage="AWSCURRENT", RemoveFromVersionId=current, MoveToVersionId=put["VersionId"]
        )
        self.assertEqual(self.get("s")["SecretString"], "two")
        versions = self.client.list_secret_version_ids(SecretId=name)["Versions"]
        self.assertEqual(
            {v["VersionId"]: sorted(v["VersionStages"]) for v in versions},
            {current: ["AWSPREVIOUS"], put["VersionId"]: ["AWSCURRENT", "CANDIDATE"]},
        )

    def test_delete_and_restore(self):
        name = self.create("s", SecretString="v")["Name"]
        out = self.client.delete_secret(SecretId=name, RecoveryWindowInDays=7)
        days = (out["DeletionDate"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 86400
        self.assertAlmostEqual(days, 7, delta=0.1)
        with self.refused(self.client.exceptions.InvalidRequestException, SCHEDULED):
            self.get("s")
        self.client.restore_secret(SecretId=name)
        self.assertEqual(self.get("s")["SecretString"], "v")
        self.client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        with self.refused(self.client.exceptions.ResourceNotFoundException, MISSING):
            self.get("s")

    def test_random_password(self):
        self.assertEqual(len(self.client.get_random_password()["RandomPassword"]), 32)
        got = self.client.get_random_password(PasswordLength=20, ExcludePunctuation=True, ExcludeCharacters="abc")
        self.assertRegex(got["RandomPassword"], "^[A-Zd-z0-9]{20}$")
        with self.refused(self.client.exceptions.InvalidParameterException, "Password length is too short based on the required types."):
            self.client.get_random_password(PasswordLength=2)

    def test_list_with_filters_and_pages(self):
        for i in range(5):
            self.create(f"s{i}", Description=f"number {i}", Tags=[{"Key": "parity", "Value": "odd" if i % 2 else "even"}])

        def listed(*filters, **rest):
            pages = self.client.get_paginator("list_secrets").paginate(
                Filters=[{"Key": "name", "Values": [self.prefix]}, *filters], PaginationConfig={"PageSize": 2}, **rest
            )
            return [s["Name"][len(self.prefix):] for page in pages for s in page["SecretList"]]

        self.assertEqual(listed(), ["s0", "s1", "s2", "s3", "s4"])
        self.assertEqual(listed(SortOrder="desc"), ["s4", "s3", "s2", "s1", "s0"])
        self.assertEqual(listed({"Key": "tag-value", "Values": ["odd"]}), ["s1", "s3"])
        self.assertEqual(listed({"Key": "description", "Values": ["number 3", "4"]}), ["s3", "s4"])
        self.client.delete_secret(SecretId=self.prefix + "s0")
        self.assertEqual(listed(), ["s1", "s2", "s3", "s4"])

    def test_tags(self):
        name = self.create("s", Tags=[{"Key": "a", "Value": "1"}])["Name"]
        self.client.tag_resource(SecretId=name, Tags=[{"Key": "b", "Value": "✓"}, {"Key": "a", "Value": "2"}])
        tags = self.client.describe_secret(SecretId=name)["Tags"]
        self.assertEqual({t["Key"]: t["Value"] for t in tags}, {"a": "2", "b": "✓"})
        self.client.untag_resource(SecretId=name, TagKeys=["a", "b"])
        self.assertEqual(self.client.describe_secret(SecretId=name)["Tags"], [])

    def test_resource_policy(self):
        arn = self.create("s")["ARN"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{arn.split(':')[4]}:root"},
                    "Action": "secretsmanager:GetSecretValue",
                    "Resource": "*",
                }
            ],
        }
        self.assertNotIn("ResourcePolicy", self.client.get_resource_policy(SecretId=arn))
        self.client.put_resource_policy(SecretId=arn, ResourcePolicy=json.dumps(policy), BlockPublicPolicy=True)
        self.assertEqual(json.loads(self.client.get_resource_policy(SecretId=arn)["ResourcePolicy"]), policy)
        valid = self.client.validate_resource_policy(SecretId=arn, ResourcePolicy=json.dumps(policy))
        self.assertTrue(valid["PolicyValidationPassed"])
        with self.refused(self.client.exceptions.MalformedPolicyDocumentException, "This resource policy contains a syntax error."):
            self.client.put_resource_policy(SecretId=arn, ResourcePolicy="{")
        self.client.delete_resource_policy(SecretId=arn)
        self.assertNotIn("ResourcePolicy", self.client.get_resource_policy(SecretId=arn))

    def test_errors(self):
        errors = self.client.exceptions
        self.create("s", SecretString="v")
        with self.refused(errors.ResourceExistsException, f"The operation failed because the secret {self.prefix}s already exists."):
            self.create("s", SecretString="v")
        with self.refused(errors.ResourceNotFoundException, MISSING):
            self.get("none")
        with self.refused(errors.InvalidRequestException, "You must provide either SecretString or SecretBinary."):
            self.client.put_secret_value(SecretId=self.prefix + "s")
        with self.refused(errors.InvalidNextTokenException):
            self.client.list_secrets(NextToken="made-up")
        with self.refused(ClientError) as _:
            self.client.get_secret_value(SecretId="Inv Name")
        try:
            self.client.get_secret_value(SecretId="Inv Name")
        except ClientError as e:
            self.assertEqual(e.response["Error"]["Code"], "ValidationException")
        with self.assertRaises(ParamValidationError):
            self.client.get_secret_value()

    def test_request_id(self):
        answer = self.client.list_secrets(MaxResults=1)
        self.assertRegex(answer["ResponseMetadata"]["RequestId"], "^[0-9a-f-]{36}$")


if __name__ == "__main__":
    unittest.main()
