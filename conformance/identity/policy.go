package identity

import (
	"encoding/json"

	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// Statement is one of a policy. Members that may be a string or a list are any.
type Statement struct {
	Sid          string `json:",omitempty"`
	Effect       string
	Principal    any        `json:",omitempty"`
	NotPrincipal any        `json:",omitempty"`
	Action       any        `json:",omitempty"`
	NotAction    any        `json:",omitempty"`
	Resource     any        `json:",omitempty"`
	NotResource  any        `json:",omitempty"`
	Condition    Conditions `json:",omitempty"`
}

// Conditions are operators with keys with values.
type Conditions map[string]map[string]any

// If is one condition.
func If(operator, key string, value any) Conditions {
	return Conditions{operator: {key: value}}
}

// Policy writes a policy of the current version of the language.
func Policy(statements ...Statement) string {
	text, err := json.Marshal(struct {
		Version   string
		Statement []Statement
	}{"2012-10-17", statements})
	if err != nil {
		panic("identity: " + err.Error()) // strings and lists can always be encoded
	}
	return string(text)
}

// Allow is a policy for an identity with one statement.
func Allow(action, resource any, conditions ...Conditions) string {
	return Policy(statement("Allow", action, resource, conditions))
}

// Deny is a policy for an identity with one statement.
func Deny(action, resource any, conditions ...Conditions) string {
	return Policy(statement("Deny", action, resource, conditions))
}

func statement(effect string, action, resource any, conditions []Conditions) Statement {
	s := Statement{Effect: effect, Action: action, Resource: resource}
	if len(conditions) > 0 {
		s.Condition = conditions[0]
	}
	return s
}

// Principals names AWS principals in a resource or trust policy.
func Principals(arns ...string) any {
	if len(arns) == 1 {
		return map[string]any{"AWS": arns[0]}
	}
	return map[string]any{"AWS": arns}
}

// Share is a resource policy that lets principals do something with the resource.
func Share(action any, arns ...string) string {
	return Policy(Statement{Effect: "Allow", Principal: Principals(arns...), Action: action, Resource: "*"})
}

// Trust is the trust policy of a role for principals.
func Trust(arns ...string) string {
	return Policy(Statement{Effect: "Allow", Principal: Principals(arns...), Action: []string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"}})
}

// SecretTags are tags of Secrets Manager from keys and values in turn.
func SecretTags(pairs ...string) (tags []smtypes.Tag) {
	for i := 0; i+1 < len(pairs); i += 2 {
		tags = append(tags, smtypes.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return tags
}
