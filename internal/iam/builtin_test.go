package iam_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"arca/internal/arn"
	"arca/internal/iam"
	"arca/internal/policy"
)

// Every built-in policy is one that a customer could have made: it parses, is within
// the size of a managed policy and is found by its ARN.
func TestBuiltinPolicies(t *testing.T) {
	all := iam.BuiltinPolicies()
	if len(all) < 15 {
		t.Fatalf("%d built-in policies", len(all))
	}
	names, ids := make(map[string]bool), make(map[string]bool)
	for _, p := range all {
		t.Run(p.Name, func(t *testing.T) {
			if _, err := policy.ParseIdentityPolicy(p.Text); err != nil {
				t.Errorf("text: %v", err)
			}
			if a, err := arn.Parse(p.ARN); err != nil || a.Account != "aws" || a.Resource != "policy"+p.Path+p.Name {
				t.Errorf("ARN = %s (%v)", p.ARN, err)
			}
			if !regexp.MustCompile(`^ANPA[A-Z2-7]{17}$`).MatchString(p.UID) {
				t.Errorf("unique id = %s", p.UID)
			}
			if p.Created == 0 || !strings.HasSuffix(p.Description, ".") {
				t.Errorf("created %d, description %q", p.Created, p.Description)
			}
			if names[strings.ToLower(p.Name)] || ids[p.UID] {
				t.Error("name or id is there twice")
			}
			names[strings.ToLower(p.Name)], ids[p.UID] = true, true
			if got := iam.FindBuiltin(p.ARN); got == nil || got.Name != p.Name {
				t.Errorf("found %v by ARN", got)
			}
		})
	}
	if !slices.IsSortedFunc(all, func(a, b iam.BuiltinPolicy) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	}) {
		t.Error("not in order of name")
	}
}

// ARNs are compared to the letter, path included.
func TestBuiltinPolicyNotFound(t *testing.T) {
	for _, arn := range []string{
		"", "AdministratorAccess", "arn:aws:iam::aws:policy/", "arn:aws:iam::aws:policy/administratoraccess",
		"arn:aws:iam::aws:policy/job-function/AdministratorAccess", "arn:aws:iam::aws:policy/ViewOnlyAccess",
		"arn:aws:iam::123456789012:policy/AdministratorAccess", "arn:aws-cn:iam::aws:policy/AdministratorAccess",
		"arn:aws:iam::aws:policy/Zzz",
	} {
		if got := iam.FindBuiltin(arn); got != nil {
			t.Errorf("%q found %s", arn, got.Name)
		}
	}
}

// keys gives condition keys that the request has.
type keys map[string]string

func (k keys) Lookup(dst []string, key string) ([]string, bool) {
	v, ok := k[key]
	if ok {
		dst = append(dst, v)
	}
	return dst, ok
}

// The effect of the built-in policies on what there is to be done.
func TestBuiltinPoliciesDecide(t *testing.T) {
	const (
		secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:MyApp/db-AbCdEf"
		kmsKey = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
		role   = "arn:aws:iam::123456789012:role/app"
	)
	viaSecrets := keys{"kms:viaservice": "secretsmanager.eu-west-1.amazonaws.com", "kms:encryptioncontext:secretarn": secret}
	for _, tc := range []struct {
		policy, action, resource string
		keys                     keys
		want                     bool
	}{
		{"AdministratorAccess", "secretsmanager:GetSecretValue", secret, nil, true},
		{"AdministratorAccess", "iam:CreateUser", "arn:aws:iam::123456789012:user/x", nil, true},
		{"AWSDenyAll", "secretsmanager:ListSecrets", "*", nil, false},
		{"PowerUserAccess", "secretsmanager:GetSecretValue", secret, nil, true},
		{"PowerUserAccess", "iam:ListRoles", "*", nil, true},
		{"PowerUserAccess", "iam:CreateRole", role, nil, false},
		{"PowerUserAccess", "iam:PassRole", role, nil, false},
		{"ReadOnlyAccess", "secretsmanager:DescribeSecret", secret, nil, true},
		{"ReadOnlyAccess", "secretsmanager:ListSecretVersionIds", secret, nil, true},
		{"ReadOnlyAccess", "secretsmanager:GetResourcePolicy", secret, nil, true},
		{"ReadOnlyAccess", "secretsmanager:GetSecretValue", secret, nil, false},
		{"ReadOnlyAccess", "secretsmanager:BatchGetSecretValue", "*", nil, false},
		{"ReadOnlyAccess", "kms:Decrypt", kmsKey, nil, false},
		{"ReadOnlyAccess", "iam:GetRole", role, nil, true},
		{"ReadOnlyAccess", "iam:UpdateRole", role, nil, false},
		{"ReadOnlyAccess", "sts:AssumeRole", role, nil, false},
		{"ViewOnlyAccess", "iam:ListUsers", "*", nil, true},
		{"ViewOnlyAccess", "iam:GetRolePolicy", role, nil, false},
		{"ViewOnlyAccess", "secretsmanager:GetSecretValue", secret, nil, false},
		{"SecurityAudit", "secretsmanager:GetResourcePolicy", secret, nil, true},
		{"SecurityAudit", "secretsmanager:GetSecretValue", secret, nil, false},
		{"SecurityAudit", "iam:GetAccountAuthorizationDetails", "*", nil, true},
		{"SecretsManagerReadWrite", "secretsmanager:DeleteSecret", secret, nil, true},
		{"SecretsManagerReadWrite", "kms:Decrypt", kmsKey, nil, false},
		{"SecretsManagerReadWrite", "lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:function:SecretsManagerRotate", nil, true},
		{"SecretsManagerReadWrite", "lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:function:Other", nil, false},
		{"SecretsManagerReadWrite", "iam:PassRole", role, nil, false},
		{"AWSSecretsManagerClientReadOnlyAccess", "secretsmanager:GetSecretValue", secret, nil, true},
		{"AWSSecretsManagerClientReadOnlyAccess", "secretsmanager:GetSecretValue", strings.Replace(secret, "arn:aws:", "arn:aws-cn:", 1), nil, true},
		{"AWSSecretsManagerClientReadOnlyAccess", "secretsmanager:PutSecretValue", secret, nil, false},
		{"AWSSecretsManagerClientReadOnlyAccess", "secretsmanager:ListSecrets", "*", nil, false},
		{"AWSSecretsManagerClientReadOnlyAccess", "kms:Decrypt", kmsKey, viaSecrets, true},
		{"AWSSecretsManagerClientReadOnlyAccess", "kms:Decrypt", kmsKey, nil, false},
		{"AWSSecretsManagerClientReadOnlyAccess", "kms:Decrypt", kmsKey, keys{"kms:viaservice": "s3.eu-west-1.amazonaws.com", "kms:encryptioncontext:secretarn": secret}, false},
		{"IAMFullAccess", "iam:DeleteUser", "arn:aws:iam::123456789012:user/x", nil, true},
		{"IAMFullAccess", "secretsmanager:GetSecretValue", secret, nil, false},
		{"IAMReadOnlyAccess", "iam:ListPolicies", "arn:aws:iam::123456789012:policy/", nil, true},
		{"IAMReadOnlyAccess", "iam:CreateAccessKey", "arn:aws:iam::123456789012:user/x", nil, false},
		{"AWSKeyManagementServicePowerUser", "kms:CreateKey", "*", nil, true},
		{"AWSKeyManagementServicePowerUser", "kms:Decrypt", kmsKey, nil, false},
		{"AWSKeyManagementServicePowerUser", "kms:ScheduleKeyDeletion", kmsKey, nil, false},
		{"AWSCloudTrail_ReadOnlyAccess", "cloudtrail:LookupEvents", "*", nil, true},
		{"AWSCloudTrail_ReadOnlyAccess", "cloudtrail:StopLogging", "*", nil, false},
		{"AWSCloudTrail_FullAccess", "cloudtrail:StopLogging", "*", nil, true},
		{"AWSLambda_FullAccess", "iam:PassRole", role, keys{"iam:passedtoservice": "lambda.amazonaws.com"}, true},
		{"AWSLambda_FullAccess", "iam:PassRole", role, keys{"iam:passedtoservice": "ec2.amazonaws.com"}, false},
		{"AWSLambda_FullAccess", "iam:PassRole", role, nil, false},
		{"AWSLambda_ReadOnlyAccess", "lambda:GetFunction", "arn:aws:lambda:eu-west-1:123456789012:function:f", nil, true},
		{"AWSLambda_ReadOnlyAccess", "lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:function:f", nil, false},
		{"AWSLambdaBasicExecutionRole", "logs:PutLogEvents", "*", nil, true},
		{"AWSLambdaBasicExecutionRole", "logs:GetLogEvents", "*", nil, false},
		{"AWSLambdaRole", "lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:function:f", nil, true},
		{"AWSLambdaRole", "lambda:DeleteFunction", "arn:aws:lambda:eu-west-1:123456789012:function:f", nil, false},
	} {
		at := slices.IndexFunc(iam.BuiltinPolicies(), func(p iam.BuiltinPolicy) bool { return p.Name == tc.policy })
		if at < 0 {
			t.Fatalf("there is no policy %s", tc.policy)
		}
		doc, err := policy.ParseIdentityPolicy(iam.BuiltinPolicies()[at].Text)
		if err != nil {
			t.Fatal(err)
		}
		got := policy.Evaluate(&policy.Request{
			Action: tc.action, Resource: tc.resource, Account: account, Context: tc.keys,
			Caller: policy.Caller{Kind: policy.UserCaller, Account: account, ARN: "arn:aws:iam::" + account + ":user/ann", UniqueID: "AIDAEXAMPLEEXAMPLE234"},
		}, &policy.Policies{Identity: []policy.Source{{Policy: policy.Compile(doc), Name: tc.policy}}})
		if got.Allowed != tc.want {
			t.Errorf("%s: %s on %s with %v: allowed %v, want %v", tc.policy, tc.action, tc.resource, tc.keys, got.Allowed, tc.want)
		}
	}
}
