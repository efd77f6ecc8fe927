package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// wish is that a condition be met, or not.
type wish struct {
	cond *broadCondition
	met  bool
}

// way is a request in the making: what it must be to pass through one statement, and
// past some of those that deny.
type way struct {
	f         *finder
	statement int
	action    string
	demands   map[*broadKey][]wish
}

func (w *way) add(c *broadCondition, met bool) {
	w.demands[c.key] = append(w.demands[c.key], wish{c, met})
}

func (w *way) drop(c *broadCondition) {
	list := w.demands[c.key]
	w.demands[c.key] = list[:len(list)-1]
}

// keys are those that the request is to have something to say about, by name.
func (w *way) keys() []*broadKey {
	return slices.SortedFunc(maps.Keys(w.demands), func(a, b *broadKey) int { return strings.Compare(a.name, b.name) })
}

// possible reports whether the key of a condition can have a value as things are.
func (w *way) possible(c *broadCondition) bool { return w.f.solve(c.key, w.demands[c.key]).ok }

// search escapes the denies, each by missing one of its conditions. Those that leave
// the least choice come first, so that a Deny without escape ends the search at once.
func (w *way) search(denies []*broadStatement) *Broad {
	for _, k := range w.keys() {
		if !w.f.solve(k, w.demands[k]).ok {
			return nil
		}
	}
	if w.f.budget < 0 {
		return w.unproven()
	}
	if len(denies) == 0 {
		return w.arrive()
	}
	next, choices := -1, []*broadCondition(nil)
	for i, d := range denies {
		var open []*broadCondition
		for _, c := range d.conditions {
			w.add(c, false)
			if w.possible(c) {
				open = append(open, c)
			}
			w.drop(c)
		}
		if next < 0 || len(open) < len(choices) {
			next, choices = i, open
		}
		if len(choices) == 0 {
			break
		}
	}
	rest := slices.Delete(slices.Clone(denies), next, next+1)
	for _, c := range choices {
		w.add(c, false)
		b := w.search(rest)
		w.drop(c)
		if b != nil {
			return b
		}
	}
	if w.f.budget < 0 {
		return w.unproven()
	}
	return nil
}

func (w *way) unproven() *Broad {
	return &Broad{Statement: w.statement, Sid: w.f.doc.Statements[w.statement].Sid}
}

// solution is whether a key can be as it must, and a value for it. No values stand for a
// request without the key.
type solution struct {
	ok     bool
	values []string
}

// solve decides about one key.
func (f *finder) solve(k *broadKey, wishes []wish) solution {
	f.budget -= 1 + len(wishes)
	ids := make([]int, 0, len(wishes))
	for _, w := range wishes {
		id := 2 * w.cond.id
		if w.met {
			id++
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	at := fmt.Sprint(f.caller.Kind, k.name, slices.Compact(ids))
	if s, ok := f.known[at]; ok {
		return s
	}
	s := f.work(k, wishes)
	f.known[at] = s
	return s
}

// work takes the wishes for a key apart: whether it may be missing, what all of its
// values must be, and what at least one of them must be.
func (f *finder) work(k *broadKey, wishes []wish) solution {
	f.budget -= 16
	known := f.fact(k.name)
	missing, present := !known.present, !known.absent
	var each, some []demand
	for _, w := range wishes {
		op := &w.cond.source.Operator
		if op.Family == NullFamily {
			missing = missing && w.cond.yes == w.met
			present = present && w.cond.no == w.met
			continue
		}
		missing = missing && metWithout(op) == w.met
		if w.cond.loose {
			continue
		}
		d := demand{cond: w.cond, like: w.met != op.Negated}
		if oneIsEnough(op, w.cond.deny) == w.met {
			some = append(some, d)
		} else {
			each = append(each, d)
		}
	}
	switch {
	case missing:
		return solution{ok: true}
	case !present:
		return solution{}
	case known.value != "":
		return solution{ok: f.satisfies(known.value, slices.Concat(each, some)), values: []string{known.value}}
	}
	if v, ok, sure := f.value(k, slices.Concat(each, some)); ok {
		s := solution{ok: true}
		if sure {
			s.values = []string{v}
		}
		return s
	}
	if len(some) < 2 {
		return solution{}
	}
	// Conditions that want one value each can have different ones.
	s := solution{ok: true}
	for _, d := range some {
		v, ok, sure := f.value(k, append(slices.Clone(each), d))
		if !ok {
			return solution{}
		}
		if sure {
			s.values = append(s.values, v)
		}
	}
	return s
}

// arrive makes the request and sees whether the policy really allows it. With
// variables that takes a few attempts, of which all may fail.
func (w *way) arrive() *Broad {
	f := w.f
	b := w.unproven()
	keys := make(map[string][]string)
	for _, k := range w.keys() {
		if s := f.solve(k, w.demands[k]); len(s.values) > 0 {
			keys[k.name] = s.values
		}
	}
	for _, fill := range []func(map[string][]string){
		func(map[string][]string) {},
		func(keys map[string][]string) { w.followVariables(keys, true) },
		func(keys map[string][]string) { w.followVariables(keys, false) },
	} {
		fill(keys)
		req, list := w.request(keys)
		d := Evaluate(req, &Policies{Resource: Source{Policy: f.compiled}, Identity: []Source{{Policy: allowAll()}}})
		if d.Allowed {
			b.Request, b.Keys = req, list
			return b
		}
	}
	return b
}

// allowAll is the policy of a stranger whose own account lets him do everything.
func allowAll() *Compiled {
	return Compile(&Document{Version: Version2012, Statements: []Statement{{
		Effect: Allow, Actions: Actions{List: []Action{{Service: "*", Name: "*"}}},
		Resources: &Resources{List: []Resource{{Pattern: Pattern{Text: "*", Parts: []Part{{Kind: AnyRun}}}}}},
	}}})
}

// request is one with these keys, among them those that all requests of a stranger have.
func (w *way) request(keys map[string][]string) (*Request, []ContextKey) {
	f := w.f
	req := &Request{Action: w.action, Resource: f.target.Resource, Account: f.owner, Caller: f.caller}
	if req.Resource == "" {
		req.Resource = f.stranger(&broadKey{name: resourceKey})
	}
	if at := keys[resourceKey]; len(at) > 0 && f.target.Resource == "" {
		req.Resource = at[0]
	}
	all := make(map[string][]string)
	for _, name := range f.compiled.ContextKeys() {
		name = strings.ToLower(name)
		if values, ok := f.ownersContext().Lookup(nil, name); ok {
			all[name] = values
			continue
		}
		if known := f.fact(name); known.value != "" {
			all[name] = []string{known.value}
		} else if known.present {
			if k := f.keys[name]; k != nil {
				if s := f.solve(k, nil); len(s.values) > 0 {
					all[name] = s.values
				}
			}
		}
	}
	for name, values := range keys {
		if name != resourceKey {
			all[name] = values
		}
	}
	var list keyList
	for name, values := range all {
		list = append(list, ContextKey{Name: name, Values: values})
	}
	slices.SortFunc(list, func(a, b ContextKey) int { return strings.Compare(a.Name, b.Name) })
	req.Context = list
	return req, list
}

// followVariables gives values to keys that are compared with variables: to the
// variable what the key has, or to the key what the variable has.
func (w *way) followVariables(keys map[string][]string, toVariable bool) {
	for _, k := range w.keys() {
		for _, wish := range w.demands[k] {
			if !wish.cond.loose {
				continue
			}
			if wish.met == wish.cond.source.Operator.Negated {
				// To be like nothing it must be there, as a rule.
				if len(keys[k.name]) == 0 {
					keys[k.name] = []string{w.f.stranger(k)}
				}
				continue
			}
			for _, v := range wish.cond.source.Values {
				if w.follow(keys, k, v.Pattern, toVariable) {
					break
				}
			}
		}
	}
}

func (w *way) follow(keys map[string][]string, k *broadKey, p Pattern, toVariable bool) bool {
	variables := slices.ContainsFunc(p.Parts, func(part Part) bool { return part.Kind == Variable })
	if !variables {
		return false
	}
	if toVariable {
		if len(p.Parts) != 1 || ownersKey(strings.ToLower(p.Parts[0].Text)) {
			return false
		}
		if len(keys[k.name]) == 0 {
			keys[k.name] = []string{w.f.stranger(k)}
		}
		keys[strings.ToLower(p.Parts[0].Text)] = keys[k.name]
		return true
	}
	text := ""
	for _, part := range p.Parts {
		switch part.Kind {
		case Literal:
			text += part.Text
		case AnyOne:
			text += "0"
		case Variable:
			name := strings.ToLower(part.Text)
			switch {
			case ownersKey(name):
				text += w.f.ownersValue(part)
			case len(keys[name]) == 1:
				text += keys[name][0]
			case part.HasDefault:
				text += part.Default
			default:
				other := &broadKey{name: name}
				other.form, _ = boundingKey(name)
				keys[name] = []string{w.f.stranger(other)}
				text += keys[name][0]
			}
		}
	}
	keys[k.name] = []string{text}
	return true
}
