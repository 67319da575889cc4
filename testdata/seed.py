"""The document that started the project, with its typing mistakes mended.

It stores the login of an RDS cluster in Secrets Manager, attaches a rotation
function, and reads the secret back. The names come from the command line; the
endpoint and the credentials from the ordinary AWS settings.
"""
import json
import logging
import os
import sys
import time

import boto3
from botocore.exceptions import ClientError

# boto3 before 1.28 does not look at this variable itself.
ENDPOINT = os.environ.get('AWS_ENDPOINT_URL')

Log = logging.getLogger('seed')
logging.basicConfig(level=logging.INFO, stream=sys.stderr)


def get_rds_info(cluster_name):
    client = boto3.client('rds', endpoint_url=ENDPOINT)
    try:
        rds_response = client.describe_db_clusters(DBClusterIdentifier=cluster_name)
        Log.info('Successfully accessed RDS DBClusterIdentifier: ' + cluster_name)
    except ClientError as e:
        if e.response['Error']['Code'] == 'DBClusterNotFoundFault':
            Log.error('The requested RDS name was not found')
        raise
    cluster = rds_response['DBClusters'][0]
    engine, endpoint, port = cluster['Engine'], cluster['Endpoint'], cluster['Port']
    if engine != 'mysql':
        engine = 'mysql'
    return '"engine": "%s", "host": "%s", "port": "%s", "dbClusterIdentifier": "%s"' % (
        engine, endpoint, port, cluster_name)


def get_lambda_arn(lambda_function_name):
    client = boto3.client(service_name='lambda', endpoint_url=ENDPOINT)
    try:
        lambda_response = client.get_function(FunctionName=lambda_function_name)
        Log.info('Successfully fetching Lambda function: ' + lambda_function_name)
    except ClientError as e:
        if e.response['Error']['Code'] == 'ResourceNotFoundException':
            Log.error('The requested Lambda name was not found')
        raise
    return lambda_response['Configuration']['FunctionArn']


def configure_secret_to_lambda(lambda_function_name):
    boto3.client('lambda', endpoint_url=ENDPOINT).add_permission(
        FunctionName=lambda_function_name, StatementId='SecretsManagerAccess',
        Action='lambda:InvokeFunction', Principal='secretsmanager.amazonaws.com')


def add_new_secret(client, username, password, sec_name, l_arn, rds_cred):
    client.create_secret(Name=sec_name)
    Log.info('Success in creating secret: ' + sec_name)
    client.put_secret_value(
        SecretId=sec_name,
        SecretString='{"username":"%s","password":"%s",%s}' % (username, password, rds_cred))
    Log.info('Success in putting the password in secret')
    client.rotate_secret(
        SecretId=sec_name,
        RotationLambdaARN=l_arn,
        RotationRules={'AutomaticallyAfterDays': 30})
    Log.info('Successfully rotating secret')


def get_secret(client, secret_name):
    try:
        get_secret_value_response = client.get_secret_value(SecretId=secret_name)
    except ClientError as e:
        if e.response['Error']['Code'] == 'ResourceNotFoundException':
            print('The requested secret ' + secret_name + ' was not found')
        raise
    if 'SecretString' in get_secret_value_response:
        return get_secret_value_response['SecretString']
    return get_secret_value_response['SecretBinary']


def wait_for_rotation(client, secret_name, first_password):
    for _ in range(1200):
        secret = get_secret(client, secret_name)
        if json.loads(secret)['password'] != first_password:
            return secret
        time.sleep(0.1)
    raise SystemExit('the password did not change')


def main(cluster, function, name, username, password):
    client = boto3.session.Session().client(service_name='secretsmanager', endpoint_url=ENDPOINT)
    configure_secret_to_lambda(function)
    add_new_secret(client, username, password, name, get_lambda_arn(function), get_rds_info(cluster))
    print(wait_for_rotation(client, name, password))


if __name__ == '__main__':
    main(*sys.argv[1:5], sys.stdin.readline().strip())
