package iam

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"
	"time"
)

// Built-in policies are those that AWS offers in every account under
// arn:aws:iam::aws:policy/, as far as they speak of services that Arca has. Their
// texts are ours, with the effect of AWS's on these services. They are part of the
// program: they cannot be changed, and are in force as soon as a program has them.

// BuiltinPolicy is a managed policy of the server's own, which every account has.
type BuiltinPolicy struct {
	ARN, UID, Path, Name, Description, Text string
	Created                                 Millis
}

// builtinAccount stands in ARNs where that of a customer's policy has its account.
const builtinAccount = "aws"

// builtinPrefix begins the ARNs of the built-in policies.
const builtinPrefix = arnPrefix + builtinAccount + ":" + kindPolicy

// builtinVersion is the id of the one version of a built-in policy.
const builtinVersion = "v1"

// builtins are the built-in policies in the order of their names, which have no two
// equal ones, whatever their paths.
var builtins = newBuiltins()

func newBuiltins() []BuiltinPolicy {
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	list := slices.Concat(generalPolicies(), servicePolicies())
	for i := range list {
		p := &list[i]
		p.ARN = builtinPrefix + p.Path + p.Name
		p.UID = builtinID(p.ARN)
		p.Text = strings.TrimSpace(p.Text)
		p.Created = created
	}
	slices.SortFunc(list, compareBuiltins)
	return list
}

func compareBuiltins(a, b BuiltinPolicy) int {
	return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
}

// builtinID makes the unique id of a built-in policy, the same in every deployment.
func builtinID(arn string) string {
	sum := sha256.Sum256([]byte(arn))
	return policyIDPrefix + idEncoding.EncodeToString(sum[:11])[:17]
}

// builtinPolicy returns the policy of an ARN, nil when it is none of ours.
func builtinPolicy(arn string) *BuiltinPolicy {
	if !strings.HasPrefix(arn, builtinPrefix+"/") {
		return nil
	}
	name := lastElement(arn)
	i, ok := slices.BinarySearchFunc(builtins, BuiltinPolicy{Name: name}, compareBuiltins)
	if !ok || builtins[i].ARN != arn {
		return nil
	}
	return &builtins[i]
}

// managed is the policy in the form of a customer's. Its uses are not counted.
func (p *BuiltinPolicy) managed() *ManagedPolicy {
	return &ManagedPolicy{
		UID: p.UID, Account: builtinAccount, Path: p.Path, Name: p.Name, Created: p.Created, Updated: p.Created,
		Description: p.Description, Default: builtinVersion,
		Versions: []PolicyVersion{{ID: builtinVersion, Text: p.Text, Created: p.Created}},
	}
}

// isBuiltin reports whether the policy is one of the server's own.
func (p *ManagedPolicy) isBuiltin() bool { return p.Account == builtinAccount }

// BuiltinPolicies returns the built-in policies in the order of their names. They
// must not be modified.
func BuiltinPolicies() []BuiltinPolicy { return builtins }
