#!/bin/bash
# A workload with the AWS CLI as Debian has it: it exchanges its token for credentials
# by the CLI's own command, and reads a secret with them. The URL comes as ARCA_URL.
set -euo pipefail

token=$(<"$AWS_WEB_IDENTITY_TOKEN_FILE")
role=$AWS_ROLE_ARN session=$AWS_ROLE_SESSION_NAME
unset AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN AWS_ROLE_SESSION_NAME

arca() { /usr/bin/aws --endpoint-url "$ARCA_URL" --output text "$@"; }

# equal WHAT GOT WANT
equal() {
	if [ "$2" != "$3" ]; then
		echo "$1: got '$2', want '$3'" >&2
		exit 1
	fi
}

# refused CODE COMMAND...: the command fails, and says so with the code.
refused() {
	local code=$1 out status=0
	shift
	out=$(arca "$@" 2>&1 >/dev/null) || status=$?
	if [ $status -ne 254 ] || [[ $out != *"An error occurred ($code) when calling"* ]]; then
		echo "$*: status $status, said: $out; want $code" >&2
		exit 1
	fi
}

# The command signs nothing.
exchange=(sts assume-role-with-web-identity --role-arn "$role" --role-session-name "$session")
read -r id secret sessionToken arn < <(arca "${exchange[@]}" --web-identity-token "$token" \
	--query '[Credentials.AccessKeyId,Credentials.SecretAccessKey,Credentials.SessionToken,AssumedRoleUser.Arn]')
equal "session" "$arn" "$ARCA_SESSION_ARN"
refused InvalidIdentityToken "${exchange[@]}" --web-identity-token "${token%?????}AAAAA"
refused AccessDenied sts assume-role-with-web-identity --role-arn "${role}x" --role-session-name "$session" --web-identity-token "$token"

export AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$secret AWS_SESSION_TOKEN=$sessionToken
equal "caller" "$(arca sts get-caller-identity --query Arn)" "$ARCA_SESSION_ARN"
equal "value" "$(arca secretsmanager get-secret-value --secret-id "$ARCA_SECRET" --query SecretString)" "$ARCA_VALUE"
refused AccessDeniedException secretsmanager list-secrets
refused AccessDenied iam list-users
unset AWS_SESSION_TOKEN
refused UnrecognizedClientException secretsmanager get-secret-value --secret-id "$ARCA_SECRET"
