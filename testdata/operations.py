"""Every operation of Secrets Manager that the installed boto3 knows.

It says so when an answer is not AWS's, and at the end when an operation was not
called. The endpoint and the credentials come from the ordinary AWS settings.
"""
import os
import time

import boto3
from botocore.exceptions import ClientError

# boto3 before 1.28 does not look at this variable itself.
ENDPOINT = os.environ.get('AWS_ENDPOINT_URL')
FUNCTION = 'arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql'
POLICY = ('{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},'
          '"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}')
PUBLIC = POLICY.replace('{"AWS":"arn:aws:iam::000000000000:root"}', '"*"')

called = set()


def connect(region='us-east-1'):
    client = boto3.client('secretsmanager', region_name=region, endpoint_url=ENDPOINT)
    client.meta.events.register('before-call.secrets-manager', lambda model, **_: called.add(model.name))
    return client


def refused(exception, text, call, **arguments):
    """Checks that a call is refused with the client's own exception class."""
    try:
        call(**arguments)
    except exception as e:
        assert text in e.response['Error']['Message'], e
        return
    raise AssertionError('%s was not refused with %s' % (call.__name__, exception.__name__))


def pages(client, operation, key, **arguments):
    """Walks a list by its paginator, or by its tokens where boto3 has none."""
    if client.can_paginate(operation):
        for page in client.get_paginator(operation).paginate(PaginationConfig={'PageSize': 2}, **arguments):
            yield from page[key]
        return
    token = {}
    while True:
        page = getattr(client, operation)(MaxResults=2, **arguments, **token)
        yield from page[key]
        if 'NextToken' not in page:
            return
        token = {'NextToken': page['NextToken']}


def values(client):
    arn = client.create_secret(Name='prod/app', SecretString='one', Tags=[{'Key': 'a', 'Value': '1'}])['ARN']
    for secret_id in 'prod/app', arn, arn[:-7]:
        assert client.get_secret_value(SecretId=secret_id)['SecretString'] == 'one'
    refused(client.exceptions.ResourceExistsException, 'The operation failed because the secret prod/app already exists.',
            client.create_secret, Name='prod/app', SecretString='x')
    refused(client.exceptions.ResourceNotFoundException, "Secrets Manager can't find the specified secret.",
            client.get_secret_value, SecretId='none')
    refused(ClientError, 'Invalid name. Must be a valid name containing alphanumeric characters',
            client.get_secret_value, SecretId='no?')
    binary = client.put_secret_value(SecretId=arn, SecretBinary=b'\0\xff')['VersionId']
    assert client.get_secret_value(SecretId=arn)['SecretBinary'] == b'\0\xff'
    text = client.update_secret(SecretId=arn, SecretString='three', Description='d')['VersionId']
    client.update_secret_version_stage(SecretId=arn, VersionStage='AWSCURRENT', MoveToVersionId=binary, RemoveFromVersionId=text)
    stages = {v['VersionId']: v.get('VersionStages') for v in
              pages(client, 'list_secret_version_ids', 'Versions', SecretId=arn, IncludeDeprecated=True)}
    assert len(stages) == 3 and stages[binary] == ['AWSCURRENT'] and stages[text] == ['AWSPREVIOUS'], stages
    return arn


def metadata(client, arn):
    client.tag_resource(SecretId=arn, Tags=[{'Key': 'b', 'Value': '2'}])
    client.untag_resource(SecretId=arn, TagKeys=['a'])
    described = client.describe_secret(SecretId=arn)
    assert described['Tags'] == [{'Key': 'b', 'Value': '2'}] and described['Description'] == 'd', described
    assert 'RotationEnabled' not in described and 'KmsKeyId' not in described, described


def policies(client, arn):
    client.put_resource_policy(SecretId=arn, ResourcePolicy=POLICY, BlockPublicPolicy=True)
    assert client.get_resource_policy(SecretId=arn)['ResourcePolicy'] == POLICY
    refused(client.exceptions.PublicPolicyException, "You can't attach a resource-based policy that allows broad access to the secret.",
            client.put_resource_policy, SecretId=arn, ResourcePolicy=PUBLIC, BlockPublicPolicy=True)
    refused(client.exceptions.MalformedPolicyDocumentException, 'This resource policy contains a syntax error.',
            client.put_resource_policy, SecretId=arn, ResourcePolicy='{')
    assert client.validate_resource_policy(ResourcePolicy=POLICY)['PolicyValidationPassed']
    client.delete_resource_policy(SecretId=arn)
    assert 'ResourcePolicy' not in client.get_resource_policy(SecretId=arn)


def lists(client):
    names = ['list/%d' % i for i in range(5)]
    for name in names:
        client.create_secret(Name=name, SecretString='v' + name)
    filters = [{'Key': 'name', 'Values': ['list/']}]
    assert [s['Name'] for s in pages(client, 'list_secrets', 'SecretList', Filters=filters)] == names
    refused(client.exceptions.InvalidNextTokenException, '', client.list_secrets, NextToken='no token')
    if not hasattr(client, 'batch_get_secret_value'):  # boto3 before 1.34
        return
    values = pages(client, 'batch_get_secret_value', 'SecretValues', Filters=filters)
    assert [v['SecretString'] for v in values] == ['v' + name for name in names]
    batch = client.batch_get_secret_value(SecretIdList=['list/0', 'none'])
    assert [e['ErrorCode'] for e in batch['Errors']] == ['ResourceNotFoundException'], batch


def rotation(client):
    boto3.client('lambda', endpoint_url=ENDPOINT).add_permission(
        FunctionName=FUNCTION, StatementId='rotation', Action='lambda:InvokeFunction', Principal='secretsmanager.amazonaws.com')
    arn = client.create_secret(Name='prod/rotated')['ARN']
    refused(client.exceptions.InvalidRequestException, 'No Lambda rotation function ARN is associated with this secret.',
            client.rotate_secret, SecretId=arn)
    client.rotate_secret(SecretId=arn, RotationLambdaARN=FUNCTION, RotateImmediately=False,
                         RotationRules={'ScheduleExpression': 'rate(10 days)', 'Duration': '2h'})
    described = client.describe_secret(SecretId=arn)
    assert described['RotationEnabled'] and described['RotationRules']['ScheduleExpression'] == 'rate(10 days)', described
    client.cancel_rotate_secret(SecretId=arn)
    assert client.describe_secret(SecretId=arn)['RotationEnabled'] is False


def replication(client):
    arn = client.create_secret(Name='prod/replicated', SecretString='one')['ARN']
    client.replicate_secret_to_regions(SecretId=arn, AddReplicaRegions=[{'Region': 'eu-west-1'}, {'Region': 'ap-south-1'}])
    deadline = time.monotonic() + 20
    while {r['Status'] for r in client.describe_secret(SecretId=arn)['ReplicationStatus']} != {'InSync'}:
        assert time.monotonic() < deadline, client.describe_secret(SecretId=arn)
        time.sleep(0.01)
    europe = connect('eu-west-1')
    assert europe.get_secret_value(SecretId='prod/replicated')['SecretString'] == 'one'
    refused(europe.exceptions.InvalidParameterException, 'Operation not permitted on a replica secret.',
            europe.put_secret_value, SecretId='prod/replicated', SecretString='two')
    europe.stop_replication_to_replica(SecretId='prod/replicated')
    europe.put_secret_value(SecretId='prod/replicated', SecretString='two')
    left = client.remove_regions_from_replication(SecretId=arn, RemoveReplicaRegions=['ap-south-1'])
    assert left['ReplicationStatus'] == [], left


def deletion(client, arn):
    assert len(client.get_random_password(PasswordLength=20, ExcludePunctuation=True)['RandomPassword']) == 20
    client.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    refused(client.exceptions.InvalidRequestException, "You can't perform this operation on the secret because it was marked for deletion.",
            client.get_secret_value, SecretId=arn)
    client.restore_secret(SecretId=arn)
    client.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    refused(client.exceptions.ResourceNotFoundException, "Secrets Manager can't find the specified secret.",
            client.describe_secret, SecretId=arn)


def main():
    client = connect()
    arn = values(client)
    metadata(client, arn)
    policies(client, arn)
    lists(client)
    rotation(client)
    replication(client)
    deletion(client, arn)
    missed = set(client.meta.service_model.operation_names) - called
    assert not missed, missed
    print('boto3 %s: %d operations' % (boto3.__version__, len(called)))


if __name__ == '__main__':
    main()
