package secrets_test

import (
	"testing"

	"arca/internal/policy"
	"arca/internal/secrets"
)

func statement(elements string) string {
	return `{"Version":"2012-10-17","Statement":[{"Action":"secretsmanager:GetSecretValue","Resource":"*",` + elements + `}]}`
}

func anybodyWith(condition string) string {
	return statement(`"Effect":"Allow","Principal":"*","Condition":` + condition)
}

func TestGrantsBroadAccess(t *testing.T) {
	const narrow, wide = false, true
	for _, tc := range []struct {
		name string
		text string
		want bool
	}{
		{"one account", statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"}`), narrow},
		{"a service", statement(`"Effect":"Allow","Principal":{"Service":"rds.amazonaws.com"}`), narrow},
		{"denied to all", statement(`"Effect":"Deny","Principal":"*"`), narrow},
		{"denied to all but one", statement(`"Effect":"Deny","NotPrincipal":{"AWS":"123456789012"}`), narrow},
		{"all", statement(`"Effect":"Allow","Principal":"*"`), wide},
		{"all, escaped", statement(`"Effect":"Allow","Principal":"\u002a"`), wide},
		{"all by kind", statement(`"Effect":"Allow","Principal":{"AWS":"*"}`), wide},
		{"all in a list", statement(`"Effect":"Allow","Principal":{"AWS":["123456789012","*"]}`), wide},
		{"one statement, not a list", `{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`, wide},
		{"second statement", `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"},{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`, wide},
		{"narrowed by a Deny elsewhere", `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"},{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"*","Resource":"*"}]}`, wide},

		{"from one endpoint", anybodyWith(`{"StringEquals":{"aws:SourceVpce":"vpce-1a2b3c4d"}}`), narrow},
		{"from two endpoints", anybodyWith(`{"StringEquals":{"aws:sourcevpce":["vpce-1","vpce-2"]}}`), narrow},
		{"from one organisation", anybodyWith(`{"StringEquals":{"aws:PrincipalOrgID":"o-abc"}}`), narrow},
		{"for one source", anybodyWith(`{"ArnLike":{"aws:SourceArn":"arn:aws:sns:eu-west-1:123456789012:t"},"Bool":{"aws:SecureTransport":"true"}}`), narrow},
		{"endpoint pattern", anybodyWith(`{"StringLike":{"aws:SourceVpce":"vpce-*"}}`), wide},
		{"endpoint pattern, escaped", anybodyWith(`{"StringLike":{"aws:SourceVpce":"vpce-\u002a"}}`), wide},
		{"one of several is a pattern", anybodyWith(`{"StringLike":{"aws:SourceVpce":["vpce-1","*"]}}`), wide},
		{"a star that is no pattern", anybodyWith(`{"StringEquals":{"aws:PrincipalOrgID":"o-*"}}`), narrow},
		{"a variable", anybodyWith(`{"StringEquals":{"aws:PrincipalAccount":"${aws:SourceAccount}"}}`), wide},
		{"when present", anybodyWith(`{"StringEqualsIfExists":{"aws:SourceVpce":"vpce-1"}}`), wide},
		{"all values", anybodyWith(`{"ForAllValues:StringEquals":{"aws:SourceVpce":"vpce-1"}}`), wide},
		{"not equal", anybodyWith(`{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}`), wide},
		{"a key that limits nobody", anybodyWith(`{"StringEquals":{"aws:UserAgent":"curl"}}`), wide},
		{"no values, which never holds", anybodyWith(`{"StringEquals":{"aws:SourceVpce":[]}}`), narrow},
		{"empty condition", anybodyWith(`{}`), wide},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc, err := policy.ParseResourcePolicy(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := secrets.GrantsBroadAccess(doc); got != tc.want {
				t.Errorf("GrantsBroadAccess(%s) = %v, want %v", tc.text, got, tc.want)
			}
		})
	}
}
