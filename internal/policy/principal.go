package policy

import (
	"strings"

	"arca/internal/arn"
)

// principals reads a Principal or NotPrincipal element.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (p *parser) principals(n node, not bool) (*Principals, *SyntaxError) {
	block := &Principals{Position: n.at, Not: not}
	if n.kind == stringNode {
		if n.text != "*" {
			return nil, badPrincipal(n, `a principal without its type must be "*"`).
				withText("Invalid principal in policy: %s", inElement("STAR", n.text))
		}
		block.List = []Principal{{Position: n.at, Kind: Everyone, Value: "*"}}
		return block, nil
	}
	if n.kind != objectNode {
		return nil, bad(n.at, `the principal is %s, not "*" or an object`, n.kind)
	}
	if len(n.members) == 0 {
		return nil, bad(n.at, "the principal is empty")
	}
	for _, m := range n.members {
		parse := parseAWSPrincipal
		switch m.name {
		case "AWS":
		case "Service":
			parse = parseServicePrincipal
		case "Federated":
			parse = parseFederatedPrincipal
		case "CanonicalUser":
			parse = parseCanonicalUser
		default:
			return nil, bad(m.at, "there is no type of principal %s", quote(m.name))
		}
		values, err := stringList(m.value, "principal")
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			principal, err := parse(v)
			if err != nil {
				return nil, err
			}
			principal.Position, principal.Value = v.at, v.text
			block.List = append(block.List, principal)
		}
	}
	return block, nil
}

func badPrincipal(n node, format string, args ...any) *SyntaxError {
	return bad(n.at, format, args...).withKind(BadPrincipal).withText("Invalid principal in policy: %s", inElement("AWS", n.text))
}

func badProvider(n node, format string, args ...any) *SyntaxError {
	return badPrincipal(n, format, args...).withText("Federated principals must be valid domain names or SAML metadata ARNs")
}

// inElement shows a principal as IAM's messages do.
func inElement(kind, value string) string { return `"` + kind + `":` + quote(value) }

// ParseAWSPrincipal reads the name of a principal as an element {"AWS": …} holds it,
// for services that take one by itself. The error is a *SyntaxError.
func ParseAWSPrincipal(text string) (Principal, error) {
	p, err := parseAWSPrincipal(node{kind: stringNode, text: text})
	if err != nil {
		return Principal{}, err
	}
	p.Value = text
	return p, nil
}

// parseAWSPrincipal reads an account, user, role or session. There are no wildcards
// but the whole "*".
func parseAWSPrincipal(n node) (Principal, *SyntaxError) {
	switch {
	case n.text == "*":
		return Principal{Kind: AnyAWS}, nil
	case arn.ValidAccount(n.text):
		return Principal{Kind: Account, ARN: arn.ARN{Account: n.text}}, nil
	case validUniqueID(n.text):
		return Principal{Kind: UniqueID}, nil
	}
	a, err := arn.Parse(n.text)
	if err != nil || !arn.ValidAccount(a.Account) || a.Region != "" || strings.ContainsAny(a.Resource, "*?") {
		return Principal{}, badPrincipal(n, "%s is not an account, or the ARN of an account, user, role or session", quote(n.text))
	}
	kind, name, _ := strings.Cut(a.Resource, "/")
	principal := Principal{ARN: a}
	switch a.Service + ":" + kind {
	case "iam:root":
		principal.Kind = Account
		if a.Resource == "root" {
			return principal, nil
		}
	case "iam:user":
		principal.Kind = User
		if validPath(name) {
			return principal, nil
		}
	case "iam:role":
		principal.Kind = Role
		if validPath(name) {
			return principal, nil
		}
	case "sts:assumed-role":
		principal.Kind = AssumedRole
		if role, session, ok := strings.Cut(name, "/"); ok && role != "" && validSession(session) {
			return principal, nil
		}
	case "sts:federated-user":
		principal.Kind = FederatedUser
		if validPath(name) && !strings.Contains(name, "/") {
			return principal, nil
		}
	}
	return Principal{}, badPrincipal(n, "%s is not the ARN of an account, user, role or session", quote(n.text))
}

// validPath reports whether s is names with slashes between them.
func validPath(s string) bool {
	return s != "" && !strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/") && !strings.Contains(s, "//")
}

// validUniqueID reports whether s is the unique id of a user or role, or that of a role
// with the name of a session behind a colon.
func validUniqueID(s string) bool {
	s, session, ok := strings.Cut(s, ":")
	if ok && (!strings.HasPrefix(s, "AROA") || !validSession(session)) {
		return false
	}
	if !strings.HasPrefix(s, "AIDA") && !strings.HasPrefix(s, "AROA") || len(s) < 16 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}

// validSession reports whether s can be the name of a session.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func validSession(s string) bool {
	return len(s) >= 2 && len(s) <= 64 && wordOf(s, "_+=,.@-")
}

// parseServicePrincipal reads the DNS-like name of a service.
func parseServicePrincipal(n node) (Principal, *SyntaxError) {
	for _, suffix := range [...]string{".amazonaws.com", ".amazonaws.com.cn", ".amazon.com", ".aws.internal"} {
		if name, ok := strings.CutSuffix(n.text, suffix); ok && validDomain(name) {
			return Principal{Kind: Service}, nil
		}
	}
	return Principal{}, bad(n.at, "%s is not the name of a service, as in lambda.amazonaws.com", quote(n.text)).
		withKind(BadServiceName).withText("Invalid principal in policy: %s", inElement("SERVICE", n.text))
}

// parseFederatedPrincipal reads an identity provider: its ARN, or the name of one of
// those that every account knows.
func parseFederatedPrincipal(n node) (Principal, *SyntaxError) {
	if !arn.IsARN(n.text) {
		if validDomain(n.text) && strings.Contains(n.text, ".") {
			return Principal{Kind: Federated}, nil
		}
		return Principal{}, badProvider(n, "%s is not an identity provider", quote(n.text))
	}
	a, err := arn.Parse(n.text)
	kind, name, _ := strings.Cut(a.Resource, "/")
	if kind == "oidc-provider" {
		// The URLs of some issuers end in a slash, and IAM keeps it.
		name = strings.TrimSuffix(name, "/")
	}
	if err != nil || a.Service != "iam" || a.Region != "" || !arn.ValidAccount(a.Account) ||
		kind != "saml-provider" && kind != "oidc-provider" || !validPath(name) || strings.ContainsAny(name, "*?") {
		return Principal{}, badProvider(n, "%s is not the ARN of an identity provider", quote(n.text))
	}
	return Principal{Kind: Federated, ARN: a}, nil
}

// parseCanonicalUser reads the 64 hexadecimal digits by which Amazon S3 knows an
// account.
func parseCanonicalUser(n node) (Principal, *SyntaxError) {
	if len(n.text) != 64 || strings.Trim(n.text, "0123456789abcdef") != "" {
		return Principal{}, badPrincipal(n, "%s is not a canonical user id", quote(n.text)).
			withText("Invalid principal in policy: %s", inElement("CANONICALUSER", n.text))
	}
	return Principal{Kind: CanonicalUser}, nil
}

// validDomain reports whether s is labels of letters, digits and hyphens with dots
// between them.
func validDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i] | 0x20; !(c >= 'a' && c <= 'z' || label[i] >= '0' && label[i] <= '9' || label[i] == '-') {
				return false
			}
		}
	}
	return true
}
