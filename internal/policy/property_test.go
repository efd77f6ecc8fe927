package policy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"arca/internal/policy"

	"pgregory.net/rapid"
)

// world is policies as plain values, which properties can change and compile again.
type world struct {
	guardrails [][]map[string]any
	resource   []map[string]any
	boundary   []map[string]any
	session    [][]map[string]any
	identity   [][]map[string]any
	trust      bool // the resource decides
}

// callers of the properties: everyone that policies tell apart, in two accounts.
func drawCaller(t *rapid.T) policy.Caller {
	account := rapid.SampledFrom([]string{"111111111111", "111111111111", "222222222222"}).Draw(t, "account")
	switch rapid.SampledFrom([]string{"user", "user", "user", "role", "role", "role", "root", "service", "web", "nobody"}).Draw(t, "kind") {
	case "root":
		return policy.Caller{Kind: policy.RootCaller, Account: account, ARN: "arn:aws:iam::" + account + ":root", UniqueID: account}
	case "user":
		return policy.Caller{Kind: policy.UserCaller, Account: account, ARN: "arn:aws:iam::" + account + ":user/u", UniqueID: "AIDAUUUUUUUUUUUUUUUU1"}
	case "role":
		return policy.Caller{
			Kind: policy.RoleCaller, Account: account, UniqueID: "AROARRRRRRRRRRRRRRRR1", Session: "s1",
			ARN: "arn:aws:sts::" + account + ":assumed-role/r/s1", RoleARN: "arn:aws:iam::" + account + ":role/r",
		}
	case "service":
		return policy.Caller{Kind: policy.ServiceCaller, Service: "lambda.amazonaws.com"}
	case "web":
		return policy.Caller{Kind: policy.WebIdentity, Provider: "arn:aws:iam::111111111111:oidc-provider/p.example.org"}
	}
	return policy.Caller{}
}

func drawRequest(t *rapid.T) *policy.Request {
	req := &policy.Request{
		Action:   rapid.SampledFrom([]string{"s3:Get", "s3:Put", "S3:get", "kms:Get", "sts:AssumeRole"}).Draw(t, "action"),
		Resource: rapid.SampledFrom([]string{"arn:aws:s3:::a/x", "arn:aws:s3:::b/x", "*"}).Draw(t, "resource"),
		Account:  "111111111111",
		Caller:   drawCaller(t),
	}
	var context contextKeys
	for _, key := range []string{"a:k", "a:v"} {
		if rapid.Bool().Draw(t, "has "+key) {
			values := rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2", "x"}), 0, 2).Draw(t, key)
			context = append(context, policy.ContextKey{Name: key, Values: values})
		}
	}
	req.Context = context
	return req
}

func drawStatement(t *rapid.T, effects []string, withPrincipal, trust bool) map[string]any {
	list := func(name string, max int, of ...string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(of), 1, max).Draw(t, name)
	}
	s := map[string]any{"Effect": rapid.SampledFrom(effects).Draw(t, "effect")}
	not := func(name string) string {
		if rapid.IntRange(0, 9).Draw(t, "not "+name) == 9 {
			return "Not" + name
		}
		return name
	}
	if trust {
		s["Action"] = list("action", 2, "sts:*", "sts:AssumeRole", "STS:Assume*", "sts:TagSession")
	} else {
		s[not("Action")] = list("action", 3, "*", "*", "s3:*", "s3:*", "s3:Get", "S3:G?t", "kms:*", "s3:Put", "sts:AssumeRole")
		s[not("Resource")] = list("resource", 2, "*", "*", "*", "*", "arn:aws:s3:::a/*", "arn:aws:s3:::${a:v}/x", "arn:aws:s3:::${a:v, 'b'}/*", "arn:aws:s3:::?/x")
	}
	if withPrincipal {
		element := "Principal"
		if s["Effect"] == "Deny" && !trust {
			element = not(element)
		}
		if rapid.IntRange(0, 4).Draw(t, "everyone") == 0 {
			s[element] = "*"
		} else {
			s[element] = map[string]any{
				"AWS": list("aws", 3, "*", "111111111111", "222222222222", "arn:aws:iam::111111111111:user/u", "arn:aws:iam::222222222222:user/u",
					"arn:aws:iam::111111111111:role/r", "arn:aws:iam::222222222222:role/r", "arn:aws:sts::111111111111:assumed-role/r/s1",
					"AIDAUUUUUUUUUUUUUUUU1", "AROARRRRRRRRRRRRRRRR1", "AROARRRRRRRRRRRRRRRR1:s1", "AROARRRRRRRRRRRRRRRR1:s2"),
				"Service":   list("service", 1, "lambda.amazonaws.com", "ec2.amazonaws.com"),
				"Federated": list("federated", 1, "arn:aws:iam::111111111111:oidc-provider/p.example.org", "accounts.google.com"),
			}
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "conditional") == 3 {
		op := rapid.SampledFrom([]string{"StringEquals", "StringNotLike", "ForAnyValue:StringEquals", "ForAllValues:StringLike", "NumericLessThan", "NumericNotEquals", "Null", "StringEqualsIfExists"}).Draw(t, "operator")
		values := map[bool][]string{false: {"1", "2", "x", "${a:v}"}, true: {"true", "false"}}[op == "Null"]
		if op == "NumericLessThan" || op == "NumericNotEquals" {
			values = []string{"1", "2"}
		}
		s["Condition"] = map[string]any{op: map[string]any{rapid.SampledFrom([]string{"a:k", "A:K", "a:v"}).Draw(t, "key"): list("values", 2, values...)}}
	}
	return s
}

func drawStatements(t *rapid.T, withPrincipal, trust bool) []map[string]any {
	var out []map[string]any
	for range rapid.IntRange(1, 3).Draw(t, "statements") {
		out = append(out, drawStatement(t, []string{"Allow", "Allow", "Allow", "Allow", "Allow", "Deny"}, withPrincipal, trust))
	}
	return out
}

func drawWorld(t *rapid.T) *world {
	w := &world{trust: rapid.IntRange(0, 4).Draw(t, "trust") == 4}
	for range max(0, rapid.IntRange(-3, 2).Draw(t, "guardrails")) {
		w.guardrails = append(w.guardrails, drawStatements(t, false, false))
	}
	if rapid.Bool().Draw(t, "has resource policy") {
		w.resource = drawStatements(t, true, w.trust)
	}
	if rapid.IntRange(0, 4).Draw(t, "has boundary") == 4 {
		w.boundary = drawStatements(t, false, false)
	}
	for range max(0, rapid.IntRange(-3, 2).Draw(t, "sessions")) {
		w.session = append(w.session, drawStatements(t, false, false))
	}
	for range rapid.IntRange(0, 3).Draw(t, "identities") {
		w.identity = append(w.identity, drawStatements(t, false, false))
	}
	return w
}

func compileStatements(t *rapid.T, name string, statements []map[string]any, parse parseFunc) policy.Source {
	raw, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parse(string(raw))
	if err != nil {
		t.Fatalf("parse %s: %v", raw, err)
	}
	return policy.Source{Name: name, Policy: policy.Compile(doc)}
}

func (w *world) policies(t *rapid.T) *policy.Policies {
	var ps policy.Policies
	many := func(name string, all [][]map[string]any) (out []policy.Source) {
		for i, s := range all {
			out = append(out, compileStatements(t, fmt.Sprint(name, i), s, policy.ParseIdentityPolicy))
		}
		return out
	}
	ps.Guardrails = many("guardrail", w.guardrails)
	ps.Identity = many("identity", w.identity)
	if w.session != nil {
		ps.HasSession, ps.Session = true, many("session", w.session)
	}
	if w.boundary != nil {
		ps.HasBoundary, ps.Boundary = true, compileStatements(t, "boundary", w.boundary, policy.ParseIdentityPolicy)
	}
	if w.resource != nil {
		parse := policy.ParseResourcePolicy
		if w.trust {
			parse = policy.ParseTrustPolicy
		}
		ps.Resource = compileStatements(t, "resource", w.resource, parse)
	}
	return &ps
}

// pick returns one of the policies that exist, nil if none does.
func (w *world) pick(t *rapid.T) (list *[]map[string]any, withPrincipal bool) {
	var all []*[]map[string]any
	for _, layer := range [][][]map[string]any{w.guardrails, w.session, w.identity} {
		for i := range layer {
			all = append(all, &layer[i])
		}
	}
	if w.boundary != nil {
		all = append(all, &w.boundary)
	}
	if w.resource != nil {
		all = append(all, &w.resource)
	}
	if len(all) == 0 {
		return nil, false
	}
	list = rapid.SampledFrom(all).Draw(t, "policy")
	return list, list == &w.resource
}

// Adding a Deny never allows, adding an Allow never denies.
func TestStatementsAreMonotone(t *testing.T) {
	changed := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w, req := drawWorld(t), drawRequest(t)
		req.ResourceDecides = w.trust
		before := policy.Evaluate(req, w.policies(t))
		list, withPrincipal := w.pick(t)
		if list == nil {
			return
		}
		effect := rapid.SampledFrom([]string{"Allow", "Deny"}).Draw(t, "added")
		s := drawStatement(t, []string{effect}, withPrincipal, withPrincipal && w.trust)
		if rapid.Bool().Draw(t, "broad") { // so that many change the decision
			delete(s, "Condition")
			delete(s, "NotPrincipal")
			if withPrincipal {
				s["Principal"] = "*"
			}
			if !(withPrincipal && w.trust) {
				s = map[string]any{"Effect": effect, "Action": "*", "Resource": "*", "Principal": s["Principal"]}
				if !withPrincipal {
					delete(s, "Principal")
				}
			}
		}
		*list = slices.Insert(*list, rapid.IntRange(0, len(*list)).Draw(t, "at"), s)
		after := policy.Evaluate(req, w.policies(t))
		if before.Allowed == (effect == "Allow") && after.Allowed != before.Allowed {
			t.Fatalf("after adding %v to %+v: allowed = %v, was %v", s, w, after.Allowed, before.Allowed)
		}
		if before.Allowed != after.Allowed {
			changed[effect]++
		}
	})
	if changed["Allow"]+changed["Deny"] == 0 {
		t.Errorf("no added statement changed a decision: %v", changed)
	}
}

// Neither the order of statements nor that of the policies of a layer matters.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, req := drawWorld(t), drawRequest(t)
		req.ResourceDecides = w.trust
		before := policy.Evaluate(req, w.policies(t))
		shuffle := func(s []map[string]any) []map[string]any {
			if s == nil {
				return nil
			}
			return rapid.Permutation(s).Draw(t, "statements")
		}
		shuffled := &world{trust: w.trust, resource: shuffle(w.resource), boundary: shuffle(w.boundary)}
		for _, layer := range []struct {
			from [][]map[string]any
			to   *[][]map[string]any
		}{{w.guardrails, &shuffled.guardrails}, {w.session, &shuffled.session}, {w.identity, &shuffled.identity}} {
			for _, s := range layer.from {
				*layer.to = append(*layer.to, shuffle(s))
			}
			if len(*layer.to) > 0 {
				*layer.to = rapid.Permutation(*layer.to).Draw(t, "policies")
			}
		}
		after := policy.Evaluate(req, shuffled.policies(t))
		if before.Allowed != after.Allowed || before.Explicit != after.Explicit || before.Layer != after.Layer {
			t.Fatalf("shuffled: %+v, was %+v", after, before)
		}
	})
}

// Explain weighs statements one by one, without the index, and must come to the same.
func TestExplainAgrees(t *testing.T) {
	outcomes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w, req := drawWorld(t), drawRequest(t)
		req.ResourceDecides = w.trust
		ps := w.policies(t)
		checkExplanation(t, req, ps)
		d := policy.Evaluate(req, ps)
		outcomes[fmt.Sprint(d.Allowed, d.Explicit, d.Layer)]++
		if d.Allowed != (d.Reason(req.Action) == "") {
			t.Fatalf("decision %+v has reason %q", d, d.Reason(req.Action))
		}
	})
	if len(outcomes) < 5 {
		t.Errorf("drawn requests had too few outcomes: %v", outcomes)
	}
}

// TestTruthTable compares the decision with AWS's rules written down as a formula, for
// every combination of what the layers say.
func TestTruthTable(t *testing.T) {
	const home, away = "111111111111", "222222222222"
	allow := mustIdentity(t, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
	silent := mustIdentity(t, `{"Statement":{"Effect":"Allow","Action":"s3:None","Resource":"*"}}`)
	callers := []policy.Caller{
		{Kind: policy.RootCaller, ARN: "root"},
		{Kind: policy.UserCaller, ARN: "arn:aws:iam::%s:user/u", UniqueID: "AIDA"},
		{Kind: policy.RoleCaller, ARN: "arn:aws:sts::%s:assumed-role/r/s1", RoleARN: "arn:aws:iam::%s:role/r"},
	}
	layers := []struct{ has, allows bool }{{false, false}, {true, false}, {true, true}}
	n := 0
	for _, caller := range callers {
		for _, account := range []string{home, away} {
			caller.Account = account
			if caller.Kind != policy.RootCaller {
				caller.ARN = fmt.Sprintf(callers[int(caller.Kind)-int(policy.RootCaller)].ARN, account)
			}
			if caller.Kind == policy.RoleCaller {
				caller.RoleARN = fmt.Sprintf("arn:aws:iam::%s:role/r", account)
			}
			named := map[string]string{"": "", "account": account, "everyone": "*"}
			switch caller.Kind {
			case policy.UserCaller:
				named["direct"] = caller.ARN
			case policy.RoleCaller:
				named["direct"], named["role"] = caller.ARN, caller.RoleARN
			}
			for how, value := range named {
				var resource policy.Source
				if how != "" {
					resource = mustResource(t, fmt.Sprintf(`{"Statement":{"Effect":"Allow","Principal":{"AWS":%q},"Action":"*","Resource":"*"}}`, value))
				}
				for _, decides := range []bool{false, true} {
					for _, guard := range layers {
						for _, boundary := range layers {
							for _, session := range layers {
								for _, identity := range layers {
									source := func(l struct{ has, allows bool }) policy.Source {
										if l.allows {
											return allow
										}
										return silent
									}
									ps := &policy.Policies{
										Resource: resource, HasBoundary: boundary.has, Boundary: source(boundary),
										HasSession: session.has, Session: []policy.Source{source(session)},
									}
									if guard.has {
										ps.Guardrails = []policy.Source{allow, source(guard)}
									}
									if identity.has {
										ps.Identity = []policy.Source{silent, source(identity)}
									}
									guardOK := !guard.has || guard.allows
									limits := (!boundary.has || boundary.allows) && (!session.has || session.allows)
									identityOK := identity.allows || caller.Kind == policy.RootCaller
									var want bool
									switch {
									case account == away:
										want = how != "" && identityOK && limits
									case how == "direct" || how == "everyone":
										want = true
									case how == "role":
										want = limits
									case decides && how == "":
									default:
										want = identityOK && limits
									}
									want = want && guardOK
									req := &policy.Request{Action: "s3:Get", Resource: "arn:aws:s3:::b", Account: home, Caller: caller, ResourceDecides: decides}
									if got := policy.Evaluate(req, ps); got.Allowed != want {
										t.Errorf("caller %+v, named %q, resource decides %v, guardrail %v, boundary %v, session %v, identity %v: %+v, want allowed %v",
											caller, how, decides, guard, boundary, session, identity, got, want)
									}
									n++
								}
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d combinations", n)
}
