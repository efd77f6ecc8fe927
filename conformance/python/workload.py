"""A workload with boto3 as Debian has it: it exchanges its token for credentials with
an STS client of its own making, since this boto3 knows no endpoint variable and would
ask AWS. The credentials renew themselves from the file."""

import os
import unittest

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError
from botocore.session import get_session

URL = os.environ["ARCA_URL"]
TOKEN_FILE = os.environ.pop("AWS_WEB_IDENTITY_TOKEN_FILE")


def assume():
    with open(TOKEN_FILE, encoding="ascii") as f:
        token = f.read()
    # The call carries no signature: the token is all it shows.
    sts = boto3.client("sts", endpoint_url=URL, config=Config(signature_version=UNSIGNED))
    return sts.assume_role_with_web_identity(
        RoleArn=os.environ["AWS_ROLE_ARN"], RoleSessionName=os.environ["AWS_ROLE_SESSION_NAME"], WebIdentityToken=token
    )


class Workload(unittest.TestCase):
    def test_exchange(self):
        got = assume()
        self.assertEqual(got["AssumedRoleUser"]["Arn"], os.environ["ARCA_SESSION_ARN"])
        self.assertEqual(got["Audience"], "sts.amazonaws.com")
        self.assertEqual(got["SubjectFromWebIdentityToken"], "system:serviceaccount:shop:checkout")
        self.assertRegex(got["Provider"], "^arn:aws:iam::[0-9]{12}:oidc-provider/127.0.0.1:[0-9]+$")
        self.assertRegex(got["Credentials"]["AccessKeyId"], "^ASIA[A-Z2-7]{16}$")

    def test_reads(self):
        fetched = []

        def fetch():
            c = assume()["Credentials"]
            fetched.append(c["AccessKeyId"])
            return {
                "access_key": c["AccessKeyId"],
                "secret_key": c["SecretAccessKey"],
                "token": c["SessionToken"],
                "expiry_time": c["Expiration"].isoformat(),
            }

        session = get_session()
        session._credentials = RefreshableCredentials.create_from_metadata(fetch(), fetch, "web-identity")
        client = boto3.Session(botocore_session=session).client("secretsmanager", endpoint_url=URL)
        for _ in range(2):
            got = client.get_secret_value(SecretId=os.environ["ARCA_SECRET"])
            self.assertEqual(got["SecretString"], os.environ["ARCA_VALUE"])
        self.assertEqual(len(fetched), 1)
        session._credentials._expiry_time = session._credentials._expiry_time.replace(year=2000)
        client.get_secret_value(SecretId=os.environ["ARCA_SECRET"])
        self.assertEqual(len(fetched), 2)
        with self.assertRaises(ClientError) as refused:
            client.list_secrets()
        self.assertEqual(refused.exception.response["Error"]["Code"], "AccessDeniedException")

    def test_bad_token(self):
        sts = boto3.client("sts", endpoint_url=URL, config=Config(signature_version=UNSIGNED))
        for token in "no token at all", "a.b.c", "e30.e30.AA":
            with self.assertRaises(sts.exceptions.InvalidIdentityTokenException) as refused:
                sts.assume_role_with_web_identity(RoleArn=os.environ["AWS_ROLE_ARN"], RoleSessionName="bad", WebIdentityToken=token)
            self.assertEqual(refused.exception.response["ResponseMetadata"]["HTTPStatusCode"], 400)


if __name__ == "__main__":
    unittest.main()
