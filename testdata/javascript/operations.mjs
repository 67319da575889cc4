// Every operation of Secrets Manager by the AWS SDK for JavaScript v3.
//
// It says so when an answer is not AWS's, and at the end when an operation was not
// called. The endpoint and the credentials come from the ordinary AWS settings.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sm from '@aws-sdk/client-secrets-manager';

const FUNCTION = 'arn:aws:lambda:us-east-1:000000000000:function:keyturn-rotate-mysql';
const POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},' +
  '"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}';
const PUBLIC = POLICY.replace('{"AWS":"arn:aws:iam::000000000000:root"}', '"*"');
const TEXT = 'one ü 漢字 😀 \u0000\u2028"\\';

const called = new Set();

function connect(region) {
  const client = new sm.SecretsManager({ region });
  client.middlewareStack.add((next, { commandName }) => (args) => {
    called.add(commandName);
    return next(args);
  }, { step: 'initialize' });
  return client;
}

const client = connect('us-east-1');

// refused checks that a call is refused with the client's own exception class.
const refused = (exception, text, call) => assert.rejects(call, (error) => {
  assert(error instanceof exception, error);
  assert(error.message.includes(text), error);
  assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/);
  return true;
});

async function collect(pages, key) {
  const all = [];
  for await (const page of pages) all.push(...page[key]);
  return all;
}

async function values() {
  const { ARN } = await client.createSecret({ Name: 'prod/app', SecretString: TEXT, Tags: [{ Key: 'a', Value: '1' }] });
  for (const SecretId of ['prod/app', ARN, ARN.slice(0, -7)]) {
    const got = await client.getSecretValue({ SecretId });
    assert.equal(got.SecretString, TEXT);
    assert(Math.abs(Date.now() - got.CreatedDate) < 60_000, got.CreatedDate);
  }
  await refused(sm.ResourceExistsException, 'The operation failed because the secret prod/app already exists.',
    client.createSecret({ Name: 'prod/app', SecretString: 'x' }));
  await refused(sm.ResourceNotFoundException, "Secrets Manager can't find the specified secret.",
    client.getSecretValue({ SecretId: 'none' }));
  await refused(sm.SecretsManagerServiceException, 'Invalid name. Must be a valid name containing alphanumeric characters',
    client.getSecretValue({ SecretId: 'no?' }));
  const binary = { SecretId: ARN, SecretBinary: Uint8Array.of(0, 255), ClientRequestToken: 'binary'.repeat(6) };
  await client.putSecretValue(binary);
  assert.deepEqual((await client.putSecretValue(binary)).VersionStages, ['AWSCURRENT']);
  assert.deepEqual([...(await client.getSecretValue({ SecretId: ARN })).SecretBinary], [0, 255]);
  const text = await client.updateSecret({ SecretId: ARN, SecretString: 'three', Description: 'd' });
  await client.updateSecretVersionStage({ SecretId: ARN, VersionStage: 'AWSCURRENT',
    MoveToVersionId: binary.ClientRequestToken, RemoveFromVersionId: text.VersionId });
  const versions = await collect(sm.paginateListSecretVersionIds({ client, pageSize: 2 },
    { SecretId: ARN, IncludeDeprecated: true }), 'Versions');
  assert.deepEqual(versions.map((v) => v.VersionStages), [undefined, ['AWSCURRENT'], ['AWSPREVIOUS']]);
  return ARN;
}

async function metadata(SecretId) {
  await client.tagResource({ SecretId, Tags: [{ Key: 'b', Value: '' }] });
  await client.untagResource({ SecretId, TagKeys: ['a'] });
  const described = await client.describeSecret({ SecretId });
  assert.deepEqual(described.Tags, [{ Key: 'b', Value: '' }]);
  assert.equal(described.Description, 'd');
  assert(!('RotationEnabled' in described), described);
}

async function policies(SecretId) {
  await client.putResourcePolicy({ SecretId, ResourcePolicy: POLICY, BlockPublicPolicy: true });
  assert.equal((await client.getResourcePolicy({ SecretId })).ResourcePolicy, POLICY);
  await refused(sm.PublicPolicyException, "You can't attach a resource-based policy that allows broad access to the secret.",
    client.putResourcePolicy({ SecretId, ResourcePolicy: PUBLIC, BlockPublicPolicy: true }));
  await refused(sm.MalformedPolicyDocumentException, 'This resource policy contains a syntax error.',
    client.putResourcePolicy({ SecretId, ResourcePolicy: '{' }));
  assert((await client.validateResourcePolicy({ ResourcePolicy: POLICY })).PolicyValidationPassed);
  await client.deleteResourcePolicy({ SecretId });
}

async function lists() {
  const names = [0, 1, 2, 3, 4].map((i) => `list/${i}`);
  for (const Name of names) await client.createSecret({ Name, SecretString: `v${Name}` });
  const Filters = [{ Key: 'name', Values: ['list/'] }];
  const listed = await collect(sm.paginateListSecrets({ client, pageSize: 2 }, { Filters }), 'SecretList');
  assert.deepEqual(listed.map((s) => s.Name), names);
  await refused(sm.InvalidNextTokenException, '', client.listSecrets({ NextToken: 'no token' }));
  const read = await collect(sm.paginateBatchGetSecretValue({ client, pageSize: 2 }, { Filters }), 'SecretValues');
  assert.deepEqual(read.map((v) => v.SecretString), names.map((name) => `v${name}`));
  const { Errors } = await client.batchGetSecretValue({ SecretIdList: ['list/0', 'none'] });
  assert.deepEqual(Errors.map((e) => e.ErrorCode), ['ResourceNotFoundException']);
}

async function rotation() {
  const { ARN: SecretId } = await client.createSecret({ Name: 'prod/rotated' });
  await refused(sm.InvalidRequestException, 'No Lambda rotation function ARN is associated with this secret.',
    client.rotateSecret({ SecretId }));
  await client.rotateSecret({ SecretId, RotationLambdaARN: FUNCTION, RotateImmediately: false,
    RotationRules: { ScheduleExpression: 'rate(10 days)', Duration: '2h' } });
  const described = await client.describeSecret({ SecretId });
  assert.equal(described.RotationRules.ScheduleExpression, 'rate(10 days)');
  assert(described.NextRotationDate > new Date(), described);
  await client.cancelRotateSecret({ SecretId });
  assert.equal((await client.describeSecret({ SecretId })).RotationEnabled, false);
}

async function replication() {
  const { ARN: SecretId } = await client.createSecret({ Name: 'prod/replicated', SecretString: 'one' });
  await client.replicateSecretToRegions({ SecretId, AddReplicaRegions: [{ Region: 'eu-west-1' }, { Region: 'ap-south-1' }] });
  for (const deadline = Date.now() + 20_000; ;) {
    const { ReplicationStatus } = await client.describeSecret({ SecretId });
    if (ReplicationStatus.every((r) => r.Status === 'InSync')) break;
    assert(Date.now() < deadline, ReplicationStatus);
    await sleep(10);
  }
  const europe = connect('eu-west-1');
  assert.equal((await europe.getSecretValue({ SecretId: 'prod/replicated' })).SecretString, 'one');
  await refused(sm.InvalidParameterException, 'Operation not permitted on a replica secret.',
    europe.putSecretValue({ SecretId: 'prod/replicated', SecretString: 'two' }));
  await europe.stopReplicationToReplica({ SecretId: 'prod/replicated' });
  const left = await client.removeRegionsFromReplication({ SecretId, RemoveReplicaRegions: ['ap-south-1'] });
  assert.deepEqual(left.ReplicationStatus, []);
}

async function deletion(SecretId) {
  assert.equal((await client.getRandomPassword({ PasswordLength: 20 })).RandomPassword.length, 20);
  const { DeletionDate } = await client.deleteSecret({ SecretId, RecoveryWindowInDays: 7 });
  assert(DeletionDate > new Date(), DeletionDate);
  await refused(sm.InvalidRequestException, "You can't perform this operation on the secret because it was marked for deletion.",
    client.getSecretValue({ SecretId }));
  await client.restoreSecret({ SecretId });
  await client.deleteSecret({ SecretId, ForceDeleteWithoutRecovery: true });
  await refused(sm.ResourceNotFoundException, "Secrets Manager can't find the specified secret.",
    client.describeSecret({ SecretId }));
}

// A client whose clock is an hour behind learns the time from the server's Date.
async function wrongClock() {
  const late = new sm.SecretsManager({ region: 'us-east-1', systemClockOffset: -3_600_000 });
  assert.equal((await late.getSecretValue({ SecretId: 'list/0' })).SecretString, 'vlist/0');
}

const arn = await values();
await metadata(arn);
await policies(arn);
await lists();
await rotation();
await replication();
await deletion(arn);
await wrongClock();
const operations = Object.keys(sm).filter((name) => /^[A-Z].*Command$/.test(name));
assert.deepEqual(operations.filter((name) => !called.has(name)), []);
console.log(`AWS SDK for JavaScript, node ${process.version}: ${called.size} operations`);
