#!/bin/bash
# Keys, with the AWS CLI as Debian has it. Credentials and region come from the
# environment, and the URL as ARCA_URL.
set -euo pipefail

alias=alias/cli/$RANDOM$RANDOM$RANDOM
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

kms() {
	/usr/bin/aws --endpoint-url "$ARCA_URL" --output text kms "$@"
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
	out=$(kms "$@" 2>&1 >/dev/null) || status=$?
	if [ $status -ne 254 ] || [[ $out != *"An error occurred ($code) when calling"*"operation: $text"* ]]; then
		echo "$*: status $status, said: $out; want $code: $text" >&2
		exit 1
	fi
}

# A key with a name.
read -r id arn < <(kms create-key --description "made by the CLI" --tags TagKey=team,TagValue=a --query 'KeyMetadata.[KeyId,Arn]')
kms create-alias --alias-name "$alias" --target-key-id "$id"
equal "key by alias" "$(kms describe-key --key-id "$alias" --query KeyMetadata.Arn)" "$arn"
equal "alias of the key" "$(kms list-aliases --key-id "$id" --query 'Aliases[].AliasName')" "$alias"
equal "key in the list" "$(kms list-keys --query "Keys[?KeyId=='$id'].KeyArn")" "$arn"
equal "tag" "$(kms list-resource-tags --key-id "$id" --query 'Tags[0].TagValue')" a
equal "policies" "$(kms list-key-policies --key-id "$id" --query PolicyNames)" default
kms get-key-policy --key-id "$id" --policy-name default --query Policy >"$work/policy"
kms put-key-policy --key-id "$id" --policy-name default --policy "file://$work/policy"

# Encrypt and decrypt a file.
printf 'line one\nline two' >"$work/plain"
kms encrypt --key-id "$alias" --plaintext "fileb://$work/plain" --encryption-context app=cli --query CiphertextBlob | base64 -d >"$work/sealed"
kms decrypt --ciphertext-blob "fileb://$work/sealed" --encryption-context app=cli --query Plaintext | base64 -d >"$work/back"
cmp "$work/plain" "$work/back"
refused InvalidCiphertextException "" decrypt --ciphertext-blob "fileb://$work/sealed" --encryption-context app=other

# A data key, and the same one opened again.
kms generate-data-key --key-id "$id" --key-spec AES_256 --query '[CiphertextBlob,Plaintext]' >"$work/data-key"
cut -f1 "$work/data-key" | base64 -d >"$work/wrapped"
equal "data key" "$(kms decrypt --ciphertext-blob "fileb://$work/wrapped" --query Plaintext)" "$(cut -f2 "$work/data-key")"
kms re-encrypt --ciphertext-blob "fileb://$work/wrapped" --destination-key-id "$alias" --destination-encryption-context moved=yes \
	--query CiphertextBlob | base64 -d >"$work/moved"
equal "moved data key" "$(kms decrypt --ciphertext-blob "fileb://$work/moved" --encryption-context moved=yes --query Plaintext)" "$(cut -f2 "$work/data-key")"
equal "random bytes" "$(kms generate-random --number-of-bytes 32 --query Plaintext | base64 -d | wc -c)" 32

# Rotation, a disabled key, and one that is to be deleted.
equal "rotation" "$(kms get-key-rotation-status --key-id "$id" --query KeyRotationEnabled)" False
kms enable-key-rotation --key-id "$id"
equal "rotation" "$(kms get-key-rotation-status --key-id "$id" --query KeyRotationEnabled)" True
kms disable-key --key-id "$id"
refused DisabledException "$arn is disabled." encrypt --key-id "$id" --plaintext eA==
kms enable-key --key-id "$id"
kms delete-alias --alias-name "$alias"
refused NotFoundException "Alias ${arn%key/*}$alias is not found." describe-key --key-id "$alias"
equal "deletion" "$(kms schedule-key-deletion --key-id "$id" --pending-window-in-days 7 --query KeyId)" "$arn"
equal "state" "$(kms describe-key --key-id "$id" --query KeyMetadata.KeyState)" PendingDeletion
refused KMSInvalidStateException "$arn is pending deletion." encrypt --key-id "$id" --plaintext eA==
