#!/bin/bash
# The walk-through people know, with the AWS CLI as Debian has it (of 2022: the
# endpoint is given as --endpoint-url, and there is no batch-get-secret-value).
# Credentials and region come from the environment, and the URL as ARCA_URL.
set -euo pipefail

prefix=cli/$RANDOM$RANDOM$RANDOM
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sm() {
	/usr/bin/aws --endpoint-url "$ARCA_URL" --output text secretsmanager "$@"
}

# equal WHAT GOT WANT
equal() {
	if [ "$2" != "$3" ]; then
		echo "$1: got '$2', want '$3'" >&2
		exit 1
	fi
}

# refused CODE TEXT COMMAND...: the command fails, and says so with code and text.
refused() {
	local code=$1 text=$2 out status=0
	shift 2
	out=$(sm "$@" 2>&1 >/dev/null) || status=$?
	if [ $status -ne 254 ] || [[ $out != *"An error occurred ($code) when calling"*"operation: $text"* ]]; then
		echo "$*: status $status, said: $out; want $code: $text" >&2
		exit 1
	fi
}

value() { sm get-secret-value --secret-id "$prefix/$1" --query SecretString "${@:2}"; }

# A string and a binary secret, read back.
arn=$(sm create-secret --name "$prefix/db" --description "first" --secret-string '{"user":"ü"}' --tags Key=team,Value=a --query ARN)
[[ $arn == arn:aws*:secretsmanager:*:secret:$prefix/db-?????? ]] || equal "ARN" "$arn" "...:secret:$prefix/db-??????"
equal "value" "$(value db)" '{"user":"ü"}'
equal "value by ARN" "$(sm get-secret-value --secret-id "$arn" --query SecretString)" '{"user":"ü"}'
head -c 65536 /dev/urandom >"$work/binary"
sm create-secret --name "$prefix/binary" --secret-binary "fileb://$work/binary" >"$work/out"
sm get-secret-value --secret-id "$prefix/binary" --query SecretBinary | base64 -d >"$work/back"
cmp "$work/binary" "$work/back"
printf 'line one\nline two' >"$work/text"
sm create-secret --name "$prefix/file" --secret-string "file://$work/text" >"$work/out"
equal "value from a file" "$(value file)" "$(cat "$work/text")"

# Update, and the previous version.
sm update-secret --secret-id "$prefix/db" --secret-string two --description second >"$work/out"
equal "updated value" "$(value db)" two
equal "previous value" "$(value db --version-stage AWSPREVIOUS)" '{"user":"ü"}'
equal "description" "$(sm describe-secret --secret-id "$prefix/db" --query Description)" second

# A version with its own stage, and its promotion.
new=$(sm put-secret-value --secret-id "$prefix/db" --secret-string three --version-stages CANDIDATE --query VersionId)
old=$(sm get-secret-value --secret-id "$prefix/db" --query VersionId)
equal "current value" "$(value db)" two
equal "candidate" "$(value db --version-stage CANDIDATE)" three
sm update-secret-version-stage --secret-id "$prefix/db" --version-stage AWSCURRENT --move-to-version-id "$new" --remove-from-version-id "$old" >"$work/out"
equal "promoted value" "$(value db)" three
equal "number of versions" "$(sm list-secret-version-ids --secret-id "$prefix/db" --query 'length(Versions)')" 2
equal "with deprecated ones" "$(sm list-secret-version-ids --secret-id "$prefix/db" --include-deprecated --query 'length(Versions)')" 3

# Lists, with filters and pages.
for i in 1 2 3; do
	sm create-secret --name "$prefix/list/$i" --description "number $i" >"$work/out"
done
names() { sm list-secrets --query 'SecretList[].Name' "$@" | xargs; }
equal "list" "$(names --filters Key=name,Values="$prefix/list")" "$prefix/list/1 $prefix/list/2 $prefix/list/3"
equal "list, newest first" "$(names --sort-order desc --filters Key=name,Values="$prefix/list")" "$prefix/list/3 $prefix/list/2 $prefix/list/1"
equal "list in pages" "$(names --page-size 1 --filters Key=name,Values="$prefix/list")" "$prefix/list/1 $prefix/list/2 $prefix/list/3"
equal "list by two filters" "$(names --filters Key=name,Values="$prefix" Key=description,Values=2)" "$prefix/list/2"

# Tags.
sm tag-resource --secret-id "$prefix/db" --tags Key=stage,Value=prod Key=team,Value=b
equal "tags" "$(sm describe-secret --secret-id "$prefix/db" --query 'join(`,`, sort(Tags[].join(`=`, [Key, Value])))')" "stage=prod,team=b"
sm untag-resource --secret-id "$prefix/db" --tag-keys stage team
equal "tags left" "$(sm describe-secret --secret-id "$prefix/db" --query 'length(Tags)')" 0

# A resource policy.
account=$(cut -d: -f5 <<<"$arn")
policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::'$account':root"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}'
sm put-resource-policy --secret-id "$prefix/db" --resource-policy "$policy" --block-public-policy >"$work/out"
equal "policy" "$(sm get-resource-policy --secret-id "$prefix/db" --query ResourcePolicy)" "$policy"
equal "valid policy" "$(sm validate-resource-policy --resource-policy "$policy" --query PolicyValidationPassed)" True
refused MalformedPolicyDocumentException "This resource policy contains a syntax error." put-resource-policy --secret-id "$prefix/db" --resource-policy '{'
sm delete-resource-policy --secret-id "$prefix/db" >"$work/out"
equal "policy left" "$(sm get-resource-policy --secret-id "$prefix/db" --query ResourcePolicy)" None

# A random password.
password=$(sm get-random-password --password-length 40 --exclude-punctuation --query RandomPassword)
[[ $password =~ ^[A-Za-z0-9]{40}$ ]] || equal "password" "$password" "40 letters and digits"

# Deletion with and without recovery.
sm delete-secret --secret-id "$prefix/db" --recovery-window-in-days 7 >"$work/out"
refused InvalidRequestException "You can't perform this operation on the secret because it was marked for deletion." get-secret-value --secret-id "$prefix/db"
sm restore-secret --secret-id "$prefix/db" >"$work/out"
equal "restored value" "$(value db)" three
sm delete-secret --secret-id "$prefix/db" --force-delete-without-recovery >"$work/out"
refused ResourceNotFoundException "Secrets Manager can't find the specified secret." get-secret-value --secret-id "$prefix/db"

# Errors, as the CLI shows them.
refused ResourceExistsException "The operation failed because the secret $prefix/file already exists." create-secret --name "$prefix/file" --secret-string v
refused InvalidParameterException "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)." delete-secret --secret-id "$prefix/file" --recovery-window-in-days 6
refused ValidationException "Invalid name." get-secret-value --secret-id "Inv Name"

for name in binary file list/1 list/2 list/3; do
	sm delete-secret --secret-id "$prefix/$name" --force-delete-without-recovery >"$work/out"
done
