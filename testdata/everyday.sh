#!/usr/bin/env bash
# What people do with the AWS CLI every day. The endpoint and the credentials
# come from the ordinary AWS settings.
set -euo pipefail
# Older versions of the CLI do not look at the variable themselves.
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }
sm() { aws secretsmanager "$@"; }

# want compares what a command prints with $1; tabs and new lines count as spaces.
want() {
	local expected=$1 got
	shift
	got=$("$@" | tr '\t\n' '  ')
	got=${got% }
	if [ "$got" != "$expected" ]; then
		printf '%s\n  printed %s\n  instead of %s\n' "$*" "$got" "$expected" >&2
		exit 1
	fi
}

# refused wants a command to fail, with $1 in what it says.
refused() {
	local expected=$1 said
	shift
	if said=$("$@" 2>&1) || [[ $said != *"$expected"* ]]; then
		printf '%s\n  was not refused with %s\n  but said %s\n' "$*" "$expected" "$said" >&2
		exit 1
	fi
}

want 000000000000 aws sts get-caller-identity --query Account --output text

sm create-secret --name prod/app --description 'The login' --secret-string '{"user":"app","password":"one"}' \
	--tags Key=team,Value=search Key=stage,Value=prod >/dev/null
want '{"user":"app","password":"one"}' sm get-secret-value --secret-id prod/app --query SecretString --output text
refused '(ResourceExistsException)' sm create-secret --name prod/app
refused "(ResourceNotFoundException) when calling the GetSecretValue operation: Secrets Manager can't find the specified secret." \
	sm get-secret-value --secret-id none

printf '{"user":"app","password":"two"}' | sm put-secret-value --secret-id prod/app --secret-string file:///dev/stdin >/dev/null
want '{"user":"app","password":"one"}' sm get-secret-value --secret-id prod/app --version-stage AWSPREVIOUS --query SecretString --output text
want '2' sm list-secret-version-ids --secret-id prod/app --query 'length(Versions)' --output text
sm update-secret --secret-id prod/app --description 'The new login' >/dev/null
want 'The new login' sm describe-secret --secret-id prod/app --query Description --output text

sm tag-resource --secret-id prod/app --tags Key=owner,Value=me
sm untag-resource --secret-id prod/app --tag-keys stage
want 'owner team' sm describe-secret --secret-id prod/app --query 'sort(Tags[].Key)' --output text
sm create-secret --name prod/other --secret-string other >/dev/null
want 'prod/app prod/other' sm list-secrets --filters Key=name,Values=prod/ --page-size 1 --query 'SecretList[].Name' --output text
if sm batch-get-secret-value --generate-cli-skeleton >/dev/null 2>&1; then # not in versions before 2.15
	want 'prod/app prod/other' sm batch-get-secret-value --secret-id-list prod/app prod/other --query 'SecretValues[].Name' --output text
fi

policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}'
sm put-resource-policy --secret-id prod/app --resource-policy "$policy" --block-public-policy >/dev/null
want "$policy" sm get-resource-policy --secret-id prod/app --query ResourcePolicy --output text
sm delete-resource-policy --secret-id prod/app >/dev/null

want 24 sm get-random-password --password-length 24 --exclude-punctuation --query 'length(RandomPassword)' --output text

sm replicate-secret-to-regions --secret-id prod/app --add-replica-regions Region=eu-west-1 >/dev/null
for _ in $(seq 30); do
	[ "$(sm describe-secret --secret-id prod/app --query 'ReplicationStatus[0].Status' --output text)" != InSync ] || break
done
want '{"user":"app","password":"two"}' sm get-secret-value --region eu-west-1 --secret-id prod/app --query SecretString --output text
sm remove-regions-from-replication --secret-id prod/app --remove-replica-regions eu-west-1 >/dev/null

sm delete-secret --secret-id prod/app --recovery-window-in-days 7 >/dev/null
refused "because it was marked for deletion." sm get-secret-value --secret-id prod/app
sm restore-secret --secret-id prod/app >/dev/null
sm delete-secret --secret-id prod/app --force-delete-without-recovery >/dev/null
want 'prod/other' sm list-secrets --query 'SecretList[].Name' --output text
aws --version 2>&1
