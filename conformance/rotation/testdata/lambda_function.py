"""Rotates the password of one PostgreSQL user, who changes it himself.

The secret is a JSON object with engine, host, username and password, and optionally
port and dbname.
"""
import json
import logging
import os

import boto3
import pgdb

logger = logging.getLogger()
logger.setLevel(logging.INFO)


def lambda_handler(event, context):
    arn, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    client = boto3.client("secretsmanager", endpoint_url=os.environ["SECRETS_MANAGER_ENDPOINT"])

    described = client.describe_secret(SecretId=arn)
    if not described.get("RotationEnabled"):
        raise ValueError("rotation of %s is off" % arn)
    stages = described["VersionIdsToStages"].get(token)
    if stages is None:
        raise ValueError("%s has no version %s" % (arn, token))
    if "AWSCURRENT" in stages:
        logger.info("version %s is current already", token)
        return
    if "AWSPENDING" not in stages:
        raise ValueError("version %s of %s is not pending" % (token, arn))

    {"createSecret": create_secret, "setSecret": set_secret, "testSecret": test_secret, "finishSecret": finish_secret}[step](client, arn, token)


def create_secret(client, arn, token):
    current = read(client, arn, "AWSCURRENT")
    try:
        read(client, arn, "AWSPENDING", token)
        logger.info("there is a pending value already")
    except client.exceptions.ResourceNotFoundException:
        password = client.get_random_password(ExcludeCharacters="/@\"'\\", PasswordLength=32)
        current["password"] = password["RandomPassword"]
        client.put_secret_value(SecretId=arn, ClientRequestToken=token, SecretString=json.dumps(current), VersionStages=["AWSPENDING"])
        logger.info("stored a pending value")


def set_secret(client, arn, token):
    pending = read(client, arn, "AWSPENDING", token)
    current = read(client, arn, "AWSCURRENT")
    if (pending["host"], pending["username"]) != (current["host"], current["username"]):
        raise ValueError("the pending value is for another user")
    connection = login(pending)
    if connection:
        connection.close()
        logger.info("the password is set already")
        return
    connection = login(current)
    if not connection:
        raise ValueError("the current password does not let in")
    try:
        change_password(connection, pending["username"], pending["password"])
    finally:
        connection.close()
    logger.info("set the password of %s", pending["username"])


def change_password(connection, username, password):
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(%s)", (username,))
        quoted = cursor.fetchone()[0]
        cursor.execute("ALTER USER " + quoted + " WITH PASSWORD %s", (password,))
    connection.commit()


def test_secret(client, arn, token):
    connection = login(read(client, arn, "AWSPENDING", token))
    if not connection:
        raise ValueError("the pending password does not let in")
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
    connection.close()


def finish_secret(client, arn, token):
    versions = client.describe_secret(SecretId=arn)["VersionIdsToStages"]
    current = next(version for version, stages in versions.items() if "AWSCURRENT" in stages)
    if current != token:
        client.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=current)
    logger.info("version %s is current", token)


def login(secret):
    try:
        return pgdb.connect(
            host=secret["host"], port=int(secret.get("port", 5432)), user=secret["username"], password=secret["password"],
            database=secret.get("dbname", "postgres"), connect_timeout=5, sslmode="verify-full",
            sslrootcert=os.path.join(os.environ["LAMBDA_TASK_ROOT"], "ca.pem"),
        )
    except pgdb.InternalError as error:
        if "password authentication failed" in str(error):
            return None
        raise


def read(client, arn, stage, token=None):
    wanted = {"VersionId": token} if token else {}
    value = json.loads(client.get_secret_value(SecretId=arn, VersionStage=stage, **wanted)["SecretString"])
    if value.get("engine") != "postgres":
        raise KeyError("the secret is not one of PostgreSQL")
    return value
