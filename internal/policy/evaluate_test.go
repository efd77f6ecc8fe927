package policy_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/policy"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the decisions and explanations in testdata")

// TestDecisions runs testdata/decisions. An archive holds the policies of one
// situation, named by their place
//
//	guardrail/NAME  resource  trust  key  identity/NAME  boundary  session/NAME
//
// and any number of requests against them. trust and key are policies of resources
// that decide alone. A boundary, session or guardrail whose text is "missing" is one
// that cannot be read. Lines of a request:
//
//	caller    root ACCOUNT | user ACCOUNT NAME | role ACCOUNT NAME SESSION |
//	          service NAME | web PROVIDER | nobody
//	action    NAME
//	resource  ARN      the secret of the tests without this line
//	owner     ACCOUNT  of the resource; 123456789012 without this line
//	only      NAME...  use only these policies
//	grant     account | role | caller   a grant on the resource that names him so
//	context   KEY = VALUE   a key with several values has several lines, one without
//	                        values has no =
//	want      what decision prints
func TestDecisions(t *testing.T) {
	files, err := filepath.Glob("testdata/decisions/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/decisions: %d files, error %v", len(files), err)
	}
	requests := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			changed := false
			for i, f := range archive.Files {
				name, ok := strings.CutPrefix(f.Name, "request ")
				if !ok {
					continue
				}
				requests++
				c := parseCase(t, f.Name, string(f.Data))
				ps, err := c.policies(archive)
				if err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
				d := policy.Evaluate(&c.req, ps)
				got := decision(&c.req, d)
				checkExplanation(t, &c.req, ps)
				if *update && got != c.want {
					archive.Files[i].Data, changed = c.withWant(got), true
				} else if got != c.want {
					x := policy.Explain(&c.req, ps)
					t.Errorf("%s:\n got %s\nwant %s\n\n%s", name, got, c.want, x.String())
				}
			}
			if changed {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	if requests < 80 {
		t.Errorf("there are %d requests, want 80 at least", requests)
	}
}

// decision prints a decision with what it rests on.
func decision(req *policy.Request, d policy.Decision) string {
	at := d.Source.Name
	if d.Statement >= 0 {
		at = fmt.Sprintf("%s statement %d", at, d.Statement+1)
	}
	switch {
	case d.Allowed && at == "":
		return "allowed as root"
	case d.Allowed:
		return "allowed by " + at
	case at != "":
		return fmt.Sprintf("denied by %s: %s", at, d.Reason(req.Action))
	}
	return "denied: " + d.Reason(req.Action)
}

type decisionCase struct {
	text string
	req  policy.Request
	only []string
	want string

	grant policy.Grant
}

func (c *decisionCase) withWant(want string) []byte {
	var out strings.Builder
	for line := range strings.Lines(c.text) {
		if !strings.HasPrefix(line, "want") {
			out.WriteString(line)
		}
	}
	fmt.Fprintf(&out, "want      %s\n", want)
	return []byte(out.String())
}

// contextKeys is a Context of the keys of a case.
type contextKeys []policy.ContextKey

func (k contextKeys) Lookup(dst []string, key string) ([]string, bool) {
	for _, c := range k {
		if strings.EqualFold(c.Name, key) {
			return append(dst, c.Values...), true
		}
	}
	return dst, false
}

func parseCase(t *testing.T, name, text string) *decisionCase {
	t.Helper()
	c := &decisionCase{text: text, req: policy.Request{Action: "secretsmanager:GetSecretValue", Resource: secret, Account: account}}
	var context contextKeys
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		rest = strings.TrimLeft(rest, " ")
		switch word {
		case "":
		case "caller":
			c.req.Caller = parseCaller(t, name, rest)
		case "action":
			c.req.Action = rest
		case "resource":
			c.req.Resource = rest
		case "owner":
			c.req.Account = rest
		case "grant":
			c.grant = policy.Grant{Name: "grant", To: map[string]policy.GrantTo{
				"account": policy.GrantToAccount, "role": policy.GrantToRole, "caller": policy.GrantToCaller,
			}[rest]}
		case "only":
			c.only = strings.Fields(rest)
		case "context":
			key, value, ok := strings.Cut(rest, " =")
			value = strings.TrimPrefix(value, " ")
			if n := len(context); n == 0 || context[n-1].Name != key {
				context = append(context, policy.ContextKey{Name: key})
			}
			if ok {
				last := &context[len(context)-1]
				last.Values = append(last.Values, value)
			}
		case "want":
			c.want = rest
		default:
			t.Fatalf("%s: unknown line %q", name, line)
		}
	}
	c.req.Context = context
	return c
}

func parseCaller(t *testing.T, name, text string) policy.Caller {
	t.Helper()
	f := strings.Fields(text)
	id := func(prefix, name string) string {
		return (prefix + strings.ToUpper(name) + strings.Repeat("0", 21))[:21]
	}
	switch {
	case len(f) == 2 && f[0] == "root":
		return policy.Caller{Kind: policy.RootCaller, Account: f[1], UniqueID: f[1], ARN: "arn:aws:iam::" + f[1] + ":root"}
	case len(f) == 3 && f[0] == "user":
		return policy.Caller{Kind: policy.UserCaller, Account: f[1], UniqueID: id("AIDA", f[2]), ARN: "arn:aws:iam::" + f[1] + ":user/" + f[2]}
	case len(f) == 4 && f[0] == "role":
		return policy.Caller{
			Kind: policy.RoleCaller, Account: f[1], UniqueID: id("AROA", f[2]), Session: f[3],
			ARN:     "arn:aws:sts::" + f[1] + ":assumed-role/" + f[2] + "/" + f[3],
			RoleARN: "arn:aws:iam::" + f[1] + ":role/" + f[2],
		}
	case len(f) == 2 && f[0] == "service":
		return policy.Caller{Kind: policy.ServiceCaller, Service: f[1]}
	case len(f) == 2 && f[0] == "web":
		return policy.Caller{Kind: policy.WebIdentity, Provider: f[1]}
	case len(f) == 1 && f[0] == "nobody":
		return policy.Caller{}
	}
	t.Fatalf("%s: unknown caller %q", name, text)
	return policy.Caller{}
}

// policies compiles the policies of an archive that the case uses.
func (c *decisionCase) policies(archive *txtar.Archive) (*policy.Policies, error) {
	ps := policy.Policies{Grant: c.grant}
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, "request ") || c.only != nil && !strings.Contains(" "+strings.Join(c.only, " ")+" ", " "+f.Name+" ") {
			continue
		}
		layer, _, _ := strings.Cut(f.Name, "/")
		parse := policy.ParseIdentityPolicy
		switch layer {
		case "resource", "key":
			parse = policy.ParseResourcePolicy
		case "trust":
			parse = policy.ParseTrustPolicy
		}
		source := policy.Source{Name: f.Name}
		if text := string(f.Data); strings.TrimSpace(text) != "missing" {
			doc, err := parse(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
			source.Policy = policy.Compile(doc)
		}
		switch layer {
		case "guardrail":
			ps.Guardrails = append(ps.Guardrails, source)
		case "resource":
			ps.Resource = source
		case "trust", "key":
			ps.Resource, c.req.ResourceDecides = source, true
		case "identity":
			ps.Identity = append(ps.Identity, source)
		case "boundary":
			ps.HasBoundary, ps.Boundary = true, source
		case "session":
			ps.HasSession, ps.Session = true, append(ps.Session, source)
		default:
			return nil, fmt.Errorf("%s: %w", f.Name, errors.ErrUnsupported)
		}
	}
	return &ps, nil
}

// checkExplanation checks that an explanation tells the same as the decision: it weighs
// every statement without the index of Compile.
func checkExplanation(t interface {
	Helper()
	Errorf(string, ...any)
}, req *policy.Request, ps *policy.Policies) {
	t.Helper()
	x := policy.Explain(req, ps)
	d := policy.Evaluate(req, ps)
	if x.Decision != d {
		t.Errorf("Explain decides %+v, Evaluate %+v", x.Decision, d)
	}
	denied, deciding := false, d.Statement < 0
	for _, c := range x.Considered {
		denied = denied || c.Matched && c.Effect == policy.Deny
		if c.Layer == d.Layer && c.Source == d.Source.Name && c.Statement == d.Statement && c.Matched &&
			(c.Effect == policy.Allow) == d.Allowed {
			deciding = true
		}
		if c.Why == "" {
			t.Errorf("statement without a why: %+v", c)
		}
	}
	if denied != d.Explicit {
		t.Errorf("a Deny matches = %v, but the decision is %+v:\n%s", denied, d, x.String())
	}
	if !deciding {
		t.Errorf("the statement that decides, %+v, is not among those that match:\n%s", d, x.String())
	}
	if x.Summary() == "" || !strings.Contains(x.String(), x.Summary()) {
		t.Errorf("explanation without its summary: %s", x.String())
	}
}
