package access

import (
	"slices"
	"strings"

	"arca/internal/policy"
)

// Who can do something depends in part on the request: where it comes from, when, with
// which parameters. So that "yes", "no" and "it depends" can be told apart, policies
// are changed into two variants that do not ask about the request any more: in the
// generous one everything a condition may want of it is so, in the strict one nothing
// is. Who is denied under the generous variant can never, and who is allowed under the
// strict one can always.

// variant changes a document. known tells which condition keys do not depend on the
// request. The statements keep their numbers.
func variant(doc *policy.Document, known func(key string) bool, generous bool) *policy.Document {
	out := *doc
	out.Statements = slices.Clone(doc.Statements)
	for i := range out.Statements {
		st := &out.Statements[i]
		open := openConditions(st, known)
		resources := openResources(st, known)
		if len(open) == 0 && !resources {
			continue
		}
		if (st.Effect == policy.Allow) != generous {
			st.Actions = policy.Actions{Position: st.Actions.Position} // matches nothing
			continue
		}
		st.Conditions = slices.DeleteFunc(slices.Clone(st.Conditions), func(c policy.Condition) bool { return isOpen(&c, known) })
		if resources {
			st.Resources = nil // about every resource
		}
	}
	return &out
}

// openConditions are the conditions of a statement that depend on the request.
func openConditions(st *policy.Statement, known func(key string) bool) (open []*policy.Condition) {
	for i := range st.Conditions {
		if isOpen(&st.Conditions[i], known) {
			open = append(open, &st.Conditions[i])
		}
	}
	return open
}

func isOpen(c *policy.Condition, known func(key string) bool) bool {
	return !known(strings.ToLower(c.Key)) ||
		slices.ContainsFunc(c.Values, func(v policy.Value) bool { return openPattern(v.Pattern, known) })
}

// openResources reports whether it depends on the request which resources a statement
// is about.
func openResources(st *policy.Statement, known func(key string) bool) bool {
	return st.Resources != nil &&
		slices.ContainsFunc(st.Resources.List, func(r policy.Resource) bool { return openPattern(r.Pattern, known) })
}

func openPattern(p policy.Pattern, known func(key string) bool) bool {
	return slices.ContainsFunc(p.Parts, func(part policy.Part) bool {
		return part.Kind == policy.Variable && !known(strings.ToLower(part.Text))
	})
}

// variantOf changes all policies of a request.
func variantOf(ps *policy.Policies, known func(key string) bool, generous bool) *policy.Policies {
	one := func(s policy.Source) policy.Source {
		if s.Policy != nil {
			s.Policy = policy.Compile(variant(s.Policy.Document(), known, generous))
		}
		return s
	}
	all := func(list []policy.Source) []policy.Source {
		out := make([]policy.Source, len(list))
		for i, s := range list {
			out[i] = one(s)
		}
		return out
	}
	return &policy.Policies{
		Guardrails: all(ps.Guardrails), Resource: one(ps.Resource),
		HasBoundary: ps.HasBoundary, Boundary: one(ps.Boundary),
		HasSession: ps.HasSession, Session: all(ps.Session), Identity: all(ps.Identity),
	}
}

// statementsOf lists the statements of all policies in the order in which Explain
// considers them; nil stands for a policy that cannot be read.
func statementsOf(ps *policy.Policies) (list []*policy.Statement) {
	add := func(s policy.Source) {
		if s.Policy == nil {
			list = append(list, nil)
			return
		}
		doc := s.Policy.Document()
		for i := range doc.Statements {
			list = append(list, &doc.Statements[i])
		}
	}
	for _, s := range ps.Guardrails {
		add(s)
	}
	if ps.Resource.Policy != nil {
		add(ps.Resource)
	}
	for _, s := range ps.Identity {
		add(s)
	}
	if ps.HasBoundary {
		add(ps.Boundary)
	}
	if ps.HasSession {
		for _, s := range ps.Session {
			add(s)
		}
	}
	return list
}

// requirements words what a request must be like where it depends on that. For each
// layer it is enough that one of the Allow statements holds, and none of the Deny
// statements may.
func requirements(req *policy.Request, ps *policy.Policies, known func(key string) bool) string {
	original := statementsOf(ps)
	var parts []string
	generous := policy.Explain(req, variantOf(ps, known, true))
	for layer := policy.GuardrailLayer; layer <= policy.IdentityLayer; layer++ {
		var either []string
		free := false
		for i, c := range generous.Considered {
			if c.Layer != layer || !c.Matched || c.Effect != policy.Allow || original[i] == nil {
				continue
			}
			text := requirement(original[i], known)
			free = free || text == ""
			if text != "" && !slices.Contains(either, text) {
				either = append(either, text)
			}
		}
		if !free && len(either) > 0 {
			parts = append(parts, "if "+strings.Join(either, " or "))
		}
	}
	strict := policy.Explain(req, variantOf(ps, known, false))
	for i, c := range strict.Considered {
		if !c.Matched || c.Effect != policy.Deny || original[i] == nil {
			continue
		}
		if text := "unless " + requirement(original[i], known); !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	return clip(strings.Join(parts, "; "))
}

// requirement words the conditions of one statement that depend on the request.
func requirement(st *policy.Statement, known func(key string) bool) string {
	var parts []string
	for _, c := range openConditions(st, known) {
		values := make([]string, len(c.Values))
		for i := range c.Values {
			values[i] = c.Values[i].Text
		}
		parts = append(parts, c.Operator.String()+" "+c.Key+" "+strings.Join(values, ", "))
	}
	if openResources(st, known) {
		parts = append(parts, "a variable makes its resource match")
	}
	return strings.Join(parts, " and ")
}

// clip keeps an answer short where policies are long.
func clip(s string) string {
	const most = 1000
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
