#!/bin/bash
# Who did what, with the AWS CLI as Debian has it. Credentials and region come from the
# environment, and the URL as ARCA_URL.
set -euo pipefail

name=cli/events/$RANDOM$RANDOM$RANDOM

call() {
	/usr/bin/aws --endpoint-url "$ARCA_URL" --output text "$@"
}

# An account may look up twice a second, and other programs look up, too.
export AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=20

lookup() {
	call cloudtrail lookup-events "$@"
}

# equal WHAT GOT WANT
equal() {
	if [ "$2" != "$3" ]; then
		echo "$1: got '$2', want '$3'" >&2
		exit 1
	fi
}

arn=$(call secretsmanager create-secret --name "$name" --secret-string s3cret --query ARN)
call secretsmanager get-secret-value --secret-id "$name" --query Name >/dev/null
call secretsmanager delete-secret --secret-id "$name" --force-delete-without-recovery >/dev/null

by_name=(--lookup-attributes "AttributeKey=ResourceName,AttributeValue=$name")
equal "events, newest first" "$(lookup "${by_name[@]}" --query 'Events[].EventName')" $'DeleteSecret\tGetSecretValue\tCreateSecret'
equal "events of the ARN" "$(lookup --lookup-attributes "AttributeKey=ResourceName,AttributeValue=$arn" --query 'Events[-1].EventName')" CreateSecret
read -r id read_only < <(lookup "${by_name[@]}" --query 'Events[1].[EventId,ReadOnly]')
equal "read-only" "$read_only" true
record=$(lookup --lookup-attributes "AttributeKey=EventId,AttributeValue=$id" --query 'Events[0].CloudTrailEvent')
[[ $record == *'"eventName":"GetSecretValue"'* && $record == *"\"eventID\":\"$id\""* && $record != *s3cret* && $record != *'"arca"'* ]] ||
	{ echo "record: $record" >&2; exit 1; }

# The CLI pages by itself.
equal "pages" "$(lookup "${by_name[@]}" --page-size 2 --query 'Events[].EventId' | wc -w)" 3
equal "one page" "$(lookup "${by_name[@]}" --max-items 1 --query 'Events[].EventName' | head -1)" DeleteSecret
equal "an hour ahead" "$(lookup "${by_name[@]}" --start-time "$(date -u -d '+1 hour' +%FT%TZ)" --query 'length(Events)')" 0

status=0
out=$(lookup --start-time 2026-01-02T00:00:00Z --end-time 2026-01-01T00:00:00Z 2>&1 >/dev/null) || status=$?
[[ $status -eq 254 && $out == *"An error occurred (InvalidTimeRangeException) when calling the LookupEvents operation"* ]] ||
	{ echo "start after end: status $status, said: $out" >&2; exit 1; }
