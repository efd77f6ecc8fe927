#!/bin/bash
# Functions, with the AWS CLI as Debian has it. Credentials and region come from the
# environment, and the URL as ARCA_URL.
set -euo pipefail

name=cli-$RANDOM$RANDOM$RANDOM
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

api() {
	/usr/bin/aws --endpoint-url "$ARCA_URL" --output text "$@"
}
lambda() {
	api lambda "$@"
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
	out=$(lambda "$@" 2>&1 >/dev/null) || status=$?
	if [ $status -ne 254 ] || [[ $out != *"An error occurred ($code) when calling"*"operation: $text"* ]]; then
		echo "$*: status $status, said: $out; want $code: $text" >&2
		exit 1
	fi
}

# archive FILE TEXT: an archive with a handler.
archive() {
	python3 - "$1" "$2" <<-'PYTHON'
		import sys, zipfile
		with zipfile.ZipFile(sys.argv[1], "w") as z:
		    z.writestr("lambda_function.py", sys.argv[2])
	PYTHON
}

# A role that functions may have.
role=$(api iam create-role --role-name "$name" --query Role.Arn --assume-role-policy-document \
	'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}')

# A function from an archive.
archive "$work/code.zip" 'def lambda_handler(event, context): return event'
arn=$(lambda create-function --function-name "$name" --runtime python3.11 --role "$role" --handler lambda_function.lambda_handler \
	--timeout 30 --environment 'Variables={SECRETS_MANAGER_ENDPOINT=https://localhost}' --tags team=a \
	--zip-file "fileb://$work/code.zip" --query FunctionArn)
lambda wait function-active-v2 --function-name "$name"
lambda wait function-exists --function-name "$arn"
equal "size of the code" "$(lambda get-function --function-name "$arn" --query Configuration.CodeSize)" "$(stat -c %s "$work/code.zip")"
equal "hash of the code" "$(lambda get-function-configuration --function-name "$name" --query CodeSha256)" "$(openssl dgst -sha256 -binary "$work/code.zip" | base64)"
equal "environment" "$(lambda get-function --function-name "$name" --query Configuration.Environment.Variables.SECRETS_MANAGER_ENDPOINT)" https://localhost
equal "function in the list" "$(lambda list-functions --query "Functions[?FunctionName=='$name'].FunctionArn")" "$arn"
equal "tag" "$(lambda list-tags --resource "$arn" --query Tags.team)" a
refused ResourceConflictException "Function already exist: $name" create-function --function-name "$name" --runtime python3.11 \
	--role "$role" --handler x.y --zip-file "fileb://$work/code.zip"

# Secrets Manager may invoke it.
lambda add-permission --function-name "$name" --statement-id SecretsManagerAccess --action lambda:InvokeFunction \
	--principal secretsmanager.amazonaws.com --source-account "${arn:$((${#arn} - ${#name} - 22)):12}" >/dev/null
equal "statement" "$(lambda get-policy --function-name "$name" --query Policy | python3 -c 'import json,sys; print(json.load(sys.stdin)["Statement"][0]["Principal"]["Service"])')" secretsmanager.amazonaws.com
lambda remove-permission --function-name "$name" --statement-id SecretsManagerAccess
refused ResourceNotFoundException "The resource you requested does not exist." get-policy --function-name "$name"

# Other code, other settings.
archive "$work/code2.zip" 'def lambda_handler(event, context): return {}'
lambda update-function-code --function-name "$name" --zip-file "fileb://$work/code2.zip" >/dev/null
lambda wait function-updated --function-name "$name"
equal "hash of the new code" "$(lambda get-function-configuration --function-name "$name" --query CodeSha256)" "$(openssl dgst -sha256 -binary "$work/code2.zip" | base64)"
equal "timeout" "$(lambda update-function-configuration --function-name "$name" --timeout 60 --query Timeout)" 60
equal "dry run" "$(lambda invoke --function-name "$name" --invocation-type DryRun "$work/out" --query StatusCode)" 204

lambda tag-resource --resource "$arn" --tags team=b,more=c
lambda untag-resource --resource "$arn" --tag-keys more
equal "changed tag" "$(lambda get-function --function-name "$name" --query Tags)" b
lambda delete-function --function-name "$name"
refused ResourceNotFoundException "Function not found: $arn" get-function --function-name "$name"
api iam delete-role --role-name "$name"
echo "functions: all as expected"
