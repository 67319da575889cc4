"""Rotates a login of MySQL, MariaDB or PostgreSQL by the calls that AWS's own
rotation functions make, with the drivers that they use."""

import json
import os

import boto3


def lambda_handler(event, context):
    client = boto3.client("secretsmanager", endpoint_url=os.environ["SECRETS_MANAGER_ENDPOINT"])
    arn, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    about = client.describe_secret(SecretId=arn)
    if not about.get("RotationEnabled", True):
        raise ValueError("rotation of %s is not enabled" % arn)
    stages = about["VersionIdsToStages"].get(token, [])
    if "AWSCURRENT" in stages:
        return
    if "AWSPENDING" not in stages:
        raise ValueError("version %s of %s is not pending" % (token, arn))
    STEPS[step](client, arn, token)


def read(client, arn, stage, token=None):
    version = {"VersionId": token} if token else {}
    return json.loads(client.get_secret_value(SecretId=arn, VersionStage=stage, **version)["SecretString"])


def create(client, arn, token):
    value = read(client, arn, "AWSCURRENT")
    try:
        read(client, arn, "AWSPENDING", token)
    except client.exceptions.ResourceNotFoundException:
        value["password"] = client.get_random_password(ExcludeCharacters=os.environ.get("EXCLUDE_CHARACTERS", ":/@\"'\\"))["RandomPassword"]
        client.put_secret_value(SecretId=arn, ClientRequestToken=token, SecretString=json.dumps(value), VersionStages=["AWSPENDING"])


def set_password(client, arn, token):
    try:
        previous = read(client, arn, "AWSPREVIOUS")
    except client.exceptions.ResourceNotFoundException:
        previous = None
    current, pending = read(client, arn, "AWSCURRENT"), read(client, arn, "AWSPENDING", token)
    if try_login(pending):
        return
    connection = connect(current) or previous and connect(previous)
    if not connection:
        raise ValueError("no version of %s logs in" % arn)
    with connection.cursor() as cursor:
        change(cursor, pending)
    connection.commit()
    connection.close()


def change(cursor, pending):
    if pending["engine"] == "postgres":
        cursor.execute("SELECT quote_ident(%s)", (pending["username"],))
        user = cursor.fetchone()[0]
        cursor.execute("ALTER USER " + user + " WITH PASSWORD %s", (pending["password"],))
        return
    cursor.execute("SELECT VERSION()")
    hashed = "PASSWORD(%s)" if "MariaDB" in cursor.fetchone()[0] else "%s"
    cursor.execute("SET PASSWORD = " + hashed, (pending["password"],))


def test(client, arn, token):
    if not try_login(read(client, arn, "AWSPENDING", token)):
        raise ValueError("the pending version of %s does not log in" % arn)


def finish(client, arn, token):
    versions = client.describe_secret(SecretId=arn)["VersionIdsToStages"]
    current = next(v for v, stages in versions.items() if "AWSCURRENT" in stages)
    client.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=current)


def try_login(value):
    connection = connect(value)
    if not connection:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOW()")
    connection.commit()
    connection.close()
    return True


def connect(value):
    """Returns a connection, or None where the server does not let the user in."""
    if value["engine"] == "postgres":
        import pgdb

        try:
            return pgdb.connect(host=value["host"], port=int(value["port"]), user=value["username"], password=value["password"], database=value.get("dbname", "postgres"), connect_timeout=5)
        except pgdb.InternalError:
            return None
    import pymysql

    try:
        return pymysql.connect(host=value["host"], port=int(value["port"]), user=value["username"], password=value["password"], connect_timeout=5)
    except pymysql.OperationalError:
        return None


STEPS = {"createSecret": create, "setSecret": set_password, "testSecret": test, "finishSecret": finish}
