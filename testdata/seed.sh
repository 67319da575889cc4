#!/usr/bin/env bash
# The same with the AWS CLI: $1 cluster, $2 function, $3 secret, $4 user name;
# the password comes on standard input.
set -euo pipefail
cluster=$1 function=$2 name=$3 username=$4
read -r password
# Older versions of the CLI do not look at this variable themselves, and version
# 1 never does for rds in us-east-1.
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }
read -r host port < <(aws rds describe-db-clusters --db-cluster-identifier "$cluster" \
	--query 'DBClusters[0].[Endpoint,Port]' --output text)
arn=$(aws lambda get-function --function-name "$function" --query Configuration.FunctionArn --output text)
aws lambda add-permission --function-name "$function" --statement-id SecretsManagerAccess \
	--action lambda:InvokeFunction --principal secretsmanager.amazonaws.com >/dev/null
aws secretsmanager create-secret --name "$name" >/dev/null
printf '{"username":"%s","password":"%s","engine":"mysql","host":"%s","port":"%s","dbClusterIdentifier":"%s"}' \
	"$username" "$password" "$host" "$port" "$cluster" |
	aws secretsmanager put-secret-value --secret-id "$name" --secret-string file:///dev/stdin >/dev/null
aws secretsmanager rotate-secret --secret-id "$name" --rotation-lambda-arn "$arn" \
	--rotation-rules AutomaticallyAfterDays=30 >/dev/null
for _ in $(seq 60); do
	secret=$(aws secretsmanager get-secret-value --secret-id "$name" --query SecretString --output text)
	if [[ $secret != *"\"password\":\"$password\""* ]]; then
		echo "$secret"
		exit
	fi
done
echo "the password did not change" >&2
exit 1
