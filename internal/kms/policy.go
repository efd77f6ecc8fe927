package kms

import (
	"strings"
	"sync"

	"arca/internal/iam"
)

// policyOf is the policy of a key in its stored form.
func (s *Service) policyOf(key *Key) string {
	if key.IsDefault() {
		return s.defaults.of(Owner{Account: key.Account, Region: key.Region})
	}
	return key.Policy
}

// initialPolicy is what a key gets whose maker gives it none: the account decides.
func initialPolicy(account string) string {
	return `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "` + iam.RootARN(account) + `"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`
}

// defaultPolicy is the policy of an account's aws/secretsmanager key: whoever in the
// account may use Secrets Manager may use the key through it, and the account may see
// what there is.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
func defaultPolicy(o Owner) string {
	return strings.NewReplacer("ACCOUNT", o.Account, "VIA", viaService("secretsmanager", o.Region), "ROOT", iam.RootARN(o.Account)).Replace(`{
  "Version" : "2012-10-17",
  "Id" : "auto-secretsmanager-2",
  "Statement" : [ {
    "Sid" : "Allow access through AWS Secrets Manager for all principals in the account that are authorized to use AWS Secrets Manager",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:CallerAccount" : "ACCOUNT",
        "kms:ViaService" : "VIA"
      }
    }
  }, {
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "ROOT"
    },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}`)
}

// maxDefaultPolicies bounds the texts that are kept, about a kilobyte each.
const maxDefaultPolicies = 4096

// defaultPolicies keeps the texts of default policies, one of which is part of every
// read of a secret.
type defaultPolicies struct {
	mu    sync.RWMutex
	texts map[Owner]string // guarded by mu
}

func (d *defaultPolicies) of(o Owner) string {
	d.mu.RLock()
	text := d.texts[o]
	d.mu.RUnlock()
	if text != "" {
		return text
	}
	text = defaultPolicy(o)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.texts == nil || len(d.texts) >= maxDefaultPolicies {
		d.texts = make(map[Owner]string)
	}
	d.texts[o] = text
	return text
}
